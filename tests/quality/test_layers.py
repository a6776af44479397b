"""What every layer answers is told by the process that loaded it, and compared with the source's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from pipeline.tasks.answers import Answers, Request
from pipeline.tasks.protocol import IDENTICAL, LoadedModel
from pipeline.validate.config_diff import differences
from pipeline.validate.consumer import answer
from pipeline.validate.layers import compare
from pipeline.validate.probes import FILE, named_in, write_answers


def _answers(folder: Path, quantized: tuple[str, ...] = (), **tensors: Any) -> Path:
    """Write what layers of a component ``t`` answered."""
    from safetensors.torch import save_file

    folder.mkdir()
    named = {f"t/{name}": tensor.clone().contiguous() for name, tensor in tensors.items()}
    save_file(named, folder / FILE, {"quantized": json.dumps([f"t/{name}" for name in quantized]), "unread": "[]"})
    return folder


def _noise(seed: int, rows: int = 8, columns: int = 512) -> Any:
    import torch

    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def test_the_ratio_is_that_of_signal_and_noise_in_decibels(tmp_path: Path) -> None:
    own = _answers(tmp_path / "own", a=_noise(1), b=_noise(2), c=_noise(3))
    other = _answers(tmp_path / "other", a=_noise(1), b=_noise(2) * 1.1, c=_noise(3) + _noise(4), quantized=("b", "c"))
    found = {layer.name: layer for layer in compare(own, other, {})}
    assert found["a"].sqnr == IDENTICAL
    assert found["b"].sqnr == pytest.approx(20, abs=0.01)
    assert found["c"].sqnr == pytest.approx(0, abs=0.3)
    assert list(found) == ["c", "b", "a"]  # the worst first
    assert [layer.fault for layer in found.values()] == ["keeps 0.1 dB of its signal", "", ""]


@pytest.mark.parametrize(
    ("spoilt", "quantized", "made", "words"),
    [
        (1.1, True, 40.0, "keeps 20.0 dB of its signal as loaded, of 40.0 dB when it was quantized"),
        (1.1, True, 22.0, ""),
        (1.1, True, None, ""),
        (1.1, False, None, "was not quantized and yet keeps only 20.0 dB of its signal"),
        (1.0, False, 40.0, "was quantized when the checkpoint was made and is not now"),
        (float("nan"), True, 40.0, "answers with values that are NaN or infinite"),
        (0.0, True, 40.0, "keeps 0.0 dB of its signal as loaded, of 40.0 dB when it was quantized"),
    ],
)
def test_a_layer_that_lost_more_than_it_should_is_at_fault(
    tmp_path: Path, spoilt: float, quantized: bool, made: float | None, words: str
) -> None:
    own = _answers(tmp_path / "own", a=_noise(1))
    other = _answers(tmp_path / "other", a=_noise(1) * spoilt, quantized=("a",) if quantized else ())
    (layer,) = compare(own, other, {} if made is None else {"t/a": made})
    assert layer.fault == words


def test_a_layer_that_is_missing_or_of_another_shape_is_at_fault(tmp_path: Path) -> None:
    own = _answers(tmp_path / "own", a=_noise(1), b=_noise(2))
    other = _answers(tmp_path / "other", b=_noise(2, columns=256))
    assert {layer.name: layer.fault for layer in compare(own, other, {})} == {
        "a": "is not in what was loaded",
        "b": "has another shape",
    }


def test_a_layer_with_a_single_output_answers_with_enough_numbers_to_know_its_noise(tmp_path: Path) -> None:
    import torch

    model = torch.nn.ModuleDict({"one": torch.nn.Linear(64, 1), "many": torch.nn.Linear(64, 128)})
    write_answers(LoadedModel(None, {"t": model}, "cpu", ""), "float32", tmp_path / FILE)
    with safe_open(tmp_path / FILE, "pt") as told:
        assert told.get_tensor("t/one").shape == (32, 1)
        assert told.get_tensor("t/many").shape == (8, 128)


def test_answers_without_layers_are_compared_without_them(tmp_path: Path) -> None:
    assert compare(tmp_path, tmp_path, {}) == ()


def test_a_pipeline_told_what_all_its_layers_answer(drawn: tuple[Answers, Path]) -> None:
    answers, out = drawn
    with safe_open(out / FILE, "pt") as told:
        names = set(told.keys())
        assert told.get_tensor("transformer/proj_out").shape == (8, 64)
        assert told.get_tensor("vae/decoder.conv_in.weight").shape == (256,)
        assert told.get_tensor("transformer/proj_out.bias").shape == (256,)
    assert {name.split("/")[0] for name in names} == {"transformer", "text_encoder", "text_encoder_2", "vae"}
    assert not named_in(out / FILE, "quantized")
    assert answers.configs["scheduler"]["class"] == "FlowMatchEulerDiscreteScheduler"
    assert "tokenizer/tokenizer.json" in answers.files


def test_what_was_varied_is_drawn_into_a_folder_of_its_own(drawn: tuple[Answers, Path]) -> None:
    answers, out = drawn
    assert [picture.file for picture in answers.repeated] == ["repeated/000-3.png", "repeated/001-3.png"]
    assert all((out / picture.file).exists() for picture in answers.repeated)
    assert "attention computed step by step" in answers.varied


def test_the_latents_are_kept(drawn: tuple[Answers, Path]) -> None:
    import numpy as np

    answers, out = drawn
    for picture in (*answers.given, *answers.repeated):
        assert np.load(out / picture.besides["latents"]).shape == (64, 64)


def test_a_quantized_pipeline_is_itself_but_for_what_was_quantized(
    source: Path, variant: Any, request_of_two: Request, drawn: tuple[Answers, Path], tmp_path: Path
) -> None:
    import diffusers
    import torch
    from torchao.quantization import Int8WeightOnlyConfig

    config = diffusers.TorchAoConfig(Int8WeightOnlyConfig())
    model = diffusers.FluxTransformer2DModel.from_pretrained(
        source / "transformer", quantization_config=config, dtype=torch.bfloat16
    )
    (tmp_path / "out").mkdir()
    answers = answer(variant(transformer=model), request_of_two, tmp_path / "out", lambda *_: None, look=True)
    layers = compare(drawn[1], tmp_path / "out", {})
    taken = [layer for layer in layers if layer.quantized]
    assert {layer.component for layer in taken} == {"transformer"}
    assert all(layer.sqnr is not None and 35 < layer.sqnr < IDENTICAL for layer in taken)
    assert all(layer.sqnr == IDENTICAL for layer in layers if not layer.quantized)
    assert not any(layer.fault for layer in layers)
    assert differences(drawn[0], answers) == []
