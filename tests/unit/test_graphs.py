"""Which graphs of a folder are meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.backends.onnx.kinds import chosen
from pipeline.backends.onnx.seq2seq import NAMES
from pipeline.worker.child import WorkerError


def files(*names: str) -> list[Path]:
    return [Path("onnx", f"{name}.onnx") for name in names]


def test_graphs_are_found_whatever_their_dtypes_are_and_beside_others() -> None:
    mixed = files("decoder_model", "decoder_model_merged_q4", "decoder_with_past_model", "encoder_model")
    assert chosen(NAMES, mixed) == {"encoder_model": mixed[3], "decoder_model_merged": mixed[1]}
    assert chosen(["model"], files("model_q4")) == {"model": Path("onnx/model_q4.onnx")}


def test_a_graph_that_is_alone_may_be_called_anything() -> None:
    assert chosen(["model"], files("minilm-int8")) == {"model": Path("onnx/minilm-int8.onnx")}


def test_which_of_several_dtypes_is_loaded_is_not_guessed() -> None:
    with pytest.raises(WorkerError, match=r"Each of model\.onnx, model_quantized\.onnx may be what is loaded"):
        chosen(["model"], files("model", "model_quantized"))


@pytest.mark.parametrize("there", [["encoder_model"], ["encoder_model", "decoder_model"]])
def test_a_graph_that_is_missing_is_named(there: list[str]) -> None:
    with pytest.raises(WorkerError, match="The graph decoder_model_merged is missing; there is encoder_model"):
        chosen(NAMES, files(*there))
