"""An export that an operator stops: said with the module that it is in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from pipeline.backends.onnx.graphs import Graph, exported
from pipeline.worker.child import WorkerError


class Bessel(torch.nn.Module):  # type: ignore[misc]
    """A module with an operator that ONNX has nothing for."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(values)


class Choosing(torch.nn.Module):  # type: ignore[misc]
    """A module whose way depends on what it reads."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if values.sum() > 0:
            return values
        return -values


class Wrapper(torch.nn.Module):  # type: ignore[misc]
    """A model as the graphs hold it, whose second layer stops an export."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Sequential(torch.nn.ReLU(), layer))

    def forward(self, inputs: Mapping[str, Any]) -> torch.Tensor:
        return self.model(inputs["values"])


@pytest.mark.parametrize(
    ("layer", "what"),
    [
        (
            Bessel(),
            "torch's exporter stopped at 1.1 (Bessel) of model.onnx: "
            "ONNX has nothing for its operator prims.bessel_j0.default.",
        ),
        (
            Choosing(),
            "torch's exporter stopped at 1.1 (Choosing) of model.onnx: Could not guard on data-dependent expression "
            "Eq(u0, 1) (unhinted: Eq(u0, 1)).  (Size-like symbols: none). Its code is `if values.sum() > 0:`.",
        ),
    ],
    ids=["translated", "traced"],
)
def test_a_stopped_export_names_the_module(layer: torch.nn.Module, what: str) -> None:
    graph = Graph(
        "model", Wrapper(layer), {"values": torch.ones(2, 4)}, ["answer"], {"inputs": {"values": {0: "rows"}}}
    )
    with pytest.raises(WorkerError) as refusal:
        exported(graph)
    assert refusal.value.what == what
    assert "another backend" in refusal.value.remedy
