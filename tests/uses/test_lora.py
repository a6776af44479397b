"""A LoRA that is loaded onto a checkpoint has the effect that it has on the source, or the report says why not."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from uses.conftest import make_lora

from pipeline.errors import RecipeError
from pipeline.events import silent
from pipeline.validate.compatibility import Lora, Uses, ask_with_lora, try_uses
from pipeline.validate.compatibility.lora import judge_lora
from tests.desk import asked

CALL = {"height": 16, "width": 16, "num_inference_steps": 2, "max_sequence_length": 16}
REQUEST = asked("seven", "nine", seeds=(3, 4), call=CALL)


@pytest.fixture(scope="module")
def int8(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the small pipeline with a transformer in int8, as torchao and diffusers make and save it."""
    import torch
    from diffusers import FluxTransformer2DModel, TorchAoConfig
    from torchao.quantization import Int8WeightOnlyConfig

    folder = tmp_path_factory.mktemp("pipelines") / "int8"
    shutil.copytree(source, folder)
    shutil.rmtree(folder / "transformer")
    config = TorchAoConfig(Int8WeightOnlyConfig())
    whole = FluxTransformer2DModel.from_pretrained(
        source / "transformer", quantization_config=config, dtype=torch.bfloat16
    )
    whole.save_pretrained(folder / "transformer")
    return folder


@pytest.fixture(scope="module")
def known(source: Path, lora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what the source answers without the LoRA and with it."""
    return ask_with_lora(source, Lora(name="style", file=lora), REQUEST, tmp_path_factory.mktemp("known"), silent)


@pytest.mark.nightly
def test_a_lora_has_its_effect_on_an_int8_target(int8: Path, lora: Path, known: Path, tmp_path: Path) -> None:
    uses = Uses(loras=(Lora(name="acme/style", file=lora, reference=known),))
    (use,) = try_uses(uses, tmp_path / "nobody looks here", int8, REQUEST, tmp_path)
    assert (use.kind, use.name, use.verdict) == ("lora", "acme/style", "PASS")
    assert use.numbers["cosine"] > 0.9
    assert 0.8 < use.numbers["ratio"] < 1.25
    assert use.numbers["moved"] > 0
    assert f"a cosine of {use.numbers['cosine']:.2f}" in use.text


@pytest.mark.nightly
def test_a_lora_without_effect_on_the_source_is_inconclusive(source: Path, tmp_path: Path) -> None:
    nothing = make_lora(source, tmp_path / "nothing", "bfloat16", seed=1, strength=0.0)
    lora = Lora(name="nothing", file=nothing)
    known = ask_with_lora(source, lora, REQUEST, tmp_path / "known", silent)
    use = judge_lora(lora, known, known)
    assert use.verdict == "INCONCLUSIVE"
    assert use.text.startswith("The LoRA's effect on the source itself is within noise (0.00 levels of 255)")


def test_what_a_library_raises_is_a_failure_of_the_checkpoint(known: Path, tmp_path: Path, lora: Path) -> None:
    found = said(tmp_path / "found", known, failure="KeyError: 'blocks.0.attn.to_k.weight'")
    use = judge_lora(Lora(name="style", file=lora), known, found)
    assert use.verdict == "FAIL"
    assert use.text.endswith("raises KeyError: 'blocks.0.attn.to_k.weight'")


def test_what_the_source_does_not_take_is_an_error_of_the_recipe(known: Path, tmp_path: Path, lora: Path) -> None:
    source = said(tmp_path / "source", known, failure="ValueError: Adapter name(s) {'tried'} not in the list.")
    with pytest.raises(RecipeError, match=r"style: The source itself does not take this LoRA: ValueError"):
        judge_lora(Lora(name="style", file=lora), source, known)


@pytest.mark.parametrize(
    ("there", "moved", "told"),
    [
        (
            lambda effect: effect,
            0.2,
            "PASS: The LoRA's effect has a cosine of 1.00 to that on the source, and is 1.00 times",
        ),
        (lambda effect: 0 * effect, 0.2, "FAIL: .*0.00 times as strong"),
        (lambda effect: -effect, 0.2, "FAIL: .*cosine of -1.00"),
        (lambda effect: 3 * effect, 0.2, "FAIL: .*3.00 times as strong"),
        (lambda effect: effect[::-1], 0.2, "FAIL: .*a cosine of 0.5 and a strength of 0.5 to 2 are the limits"),
        (lambda effect: effect[::-1], 3.0, "INCONCLUSIVE: .*quantization alone moves the pictures 3.0 times as far"),
        (lambda effect: 0 * effect, 3.0, "FAIL: .*0.00 times as strong"),
        (lambda effect: effect / 0, 0.2, "FAIL: .*no numbers"),
    ],
    ids=["same", "none", "opposite", "too strong", "another", "another, but far away", "none, far away", "infinite"],
)
def test_an_effect_is_judged_by_direction_and_strength(
    there: Any, moved: float, told: str, known: Path, tmp_path: Path
) -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    plain, effect, away = (rng.normal(size=(2, 4, 8, 8)) for _ in range(3))
    away = plain + away * moved * np.linalg.norm(effect) / np.linalg.norm(away)
    source = said(tmp_path / "source", known, plain=plain, adapted=plain + effect, again=plain[:1])
    with np.errstate(divide="ignore"):
        found = said(tmp_path / "found", known, plain=away, adapted=away + there(effect))
    use = judge_lora(Lora(name="style", file=tmp_path), source, found)
    assert re.match(told, f"{use.verdict}: {use.text}"), use.text


def said(folder: Path, known: Path, failure: str = "", **arrays: Any) -> Path:
    """Return answers with other arrays in them, or none but a failure."""
    import numpy as np

    shutil.copytree(known, folder)
    for name, values in arrays.items():
        np.savez(folder / f"{name}.npz", pixels=values, latents=values)
    told = json.loads((folder / "tried.json").read_bytes()) | {"failure": failure}
    (folder / "tried.json").write_text(json.dumps(told))
    return folder
