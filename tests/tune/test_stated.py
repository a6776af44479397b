"""The SQNR that every scheme states, from which a budget chooses, is what its kernel leaves."""

from __future__ import annotations

import pytest
import torch
from packing.cases import CASES, Case, by_us

from pipeline.backends import BACKENDS, STREAMING
from pipeline.quantize.build import decibels

NO_KERNEL_HERE = {("torchao", "int4-weight-only"), ("torchao", "float8-dynamic")}  # they need a CUDA device
AS_THEY_ARE = {("gguf", "bf16")}  # it leaves all of these weights
GGUF = [Case("gguf", scheme) for scheme in STREAMING["gguf"].SCHEMES if scheme != "bf16"]
ACTIVATIONS = 3.0  # decibels that as much noise again takes


@pytest.mark.parametrize("case", [*CASES, *GGUF], ids=str)
def test_a_scheme_leaves_of_normal_weights_what_it_states(case: Case) -> None:
    normal = torch.randn(256, 2048, generator=torch.Generator().manual_seed(5)) * 0.02
    made = by_us(case, normal.to(torch.bfloat16))
    assert made is not None
    found = decibels(made.noise, made.signal)
    assert found is not None
    scheme = BACKENDS[case.backend].SCHEMES[case.scheme]
    assert scheme.sqnr == pytest.approx(found - (ACTIVATIONS if scheme.computes_in_codes else 0.0), abs=0.5)


def test_every_scheme_with_a_kernel_is_held_to_what_it_states() -> None:
    every = {(name, scheme) for name, backend in STREAMING.items() for scheme in backend.SCHEMES}
    assert every - {(case.backend, case.scheme) for case in [*CASES, *GGUF]} == NO_KERNEL_HERE | AS_THEY_ARE
