"""A component lies in one file in its family's names as diffusers reads it back, each value where it was."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from names.families import FIXED, KNOWN_BY, QUICK, REFUSED, SPECIAL, UNKNOWN, VARIANTS, model
from safetensors.torch import save_file

from pipeline.backends.oracle.probing import Experiment, answer_single_file
from pipeline.backends.oracle.single_file import SingleFile, SingleFileRequest, ask_single_file
from pipeline.backends.oracle.spelling import Spelling
from pipeline.worker.child import WorkerError


def loadable() -> dict[str, Any]:
    from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES

    return SINGLE_FILE_LOADABLE_CLASSES


def question(made: Any) -> SingleFileRequest:
    shapes = {name: tuple(tensor.shape) for name, tensor in made.state_dict().items()}
    return SingleFileRequest(class_name=type(made).__name__, config=json.loads(made.to_json_string()), shapes=shapes)


def laid_out(answer: SingleFile, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    def rows(part: Any) -> torch.Tensor:
        return tensors[part.tensor][part.start : part.stop] if tensors[part.tensor].ndim else tensors[part.tensor]

    return {
        name: torch.cat([rows(part).flatten() for part in tensor.rows]).reshape(tensor.shape)
        for name, tensor in answer.tensors.items()
    }


def differing(made: Any, folder: Path, known_by: str = "") -> list[str]:
    """Return the tensors that are not the same once they were in a file that diffusers knows its family by."""
    from diffusers.loaders.single_file_utils import CHECKPOINT_KEY_NAMES

    answer = answer_single_file(question(made))
    if known_by:
        names = CHECKPOINT_KEY_NAMES[known_by]
        assert {*([names] if isinstance(names, str) else names)} & {
            name for held in answer.tensors for name in (held, f"model.diffusion_model.{held}")
        }
    made.save_config(folder)
    save_file(laid_out(answer, made.state_dict()), folder / "file.safetensors")
    loaded = type(made).from_single_file(str(folder / "file.safetensors"), config=str(folder), dtype=made.dtype)
    theirs = loaded.state_dict()
    ours = made.state_dict()
    assert theirs.keys() == ours.keys()
    return [name for name, tensor in ours.items() if not torch.equal(tensor, theirs[name])]


@pytest.mark.parametrize("name", QUICK)
def test_what_diffusers_reads_of_a_file_is_what_went_into_it(name: str, tmp_path: Path) -> None:
    assert differing(model(name), tmp_path, KNOWN_BY.get(name, "")) == []


def test_flux_1_is_read_row_for_row() -> None:
    """As wide as the library's function counts on, of which two columns tell as much as all."""
    import diffusers

    with torch.device("meta"):
        made = diffusers.FluxTransformer2DModel(num_layers=2, num_single_layers=2, guidance_embeds=True)
    narrow = {
        name: torch.randn(*tensor.shape[:1], *(2 for _ in tensor.shape[1:]))
        for name, tensor in made.state_dict().items()
    }
    answer = answer_single_file(question(made))
    file = {
        name: torch.cat([narrow[part.tensor][part.start : part.stop] for part in tensor.rows])
        for name, tensor in answer.tensors.items()
    }
    found = loadable()["FluxTransformer2DModel"]["checkpoint_mapping_fn"](checkpoint=dict(file), config={})
    assert found.keys() == narrow.keys()
    assert [name for name, tensor in narrow.items() if not torch.equal(tensor, found[name])] == []
    assert answer.tensors["double_blocks.0.img_attn.qkv.weight"].shape == (9216, 3072)
    assert len(answer.tensors["single_blocks.1.linear1.weight"].rows) == 4
    swapped = answer.tensors["final_layer.adaLN_modulation.1.weight"].rows
    assert [(part.start, part.stop) for part in swapped] == [(3072, 6144), (0, 3072)]


def test_every_class_that_diffusers_reads_a_file_of_is_tried() -> None:
    tried = {*QUICK, *REST, *REFUSED}
    assert tried == loadable().keys()


REST = sorted(
    {
        *SPECIAL,
        *("AuraFlowTransformer2DModel", "ChronoEditTransformer3DModel"),
        *("ErnieImageTransformer2DModel", "Flux3Transformer2DModel"),
        *("HiDreamImageTransformer2DModel", "Krea2Transformer2DModel", "LTXVideoTransformer3DModel"),
        *("MiniMaxH3Transformer3DModel", "MotifVideoTransformer3DModel", "QwenImage21Transformer2DModel"),
        *("SkyReelsV2Transformer3DModel", "StableCascadeUNet", "WanAnimate2Transformer3DModel"),
        *("WanAnimateTransformer3DModel", "WanVACETransformer3DModel", "ZImageControlNetModel"),
    }
)


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore:`FluxPosEmbed` is deprecated:FutureWarning")  # which Chroma in 0.42 uses itself
@pytest.mark.parametrize("name", REST)
def test_what_diffusers_reads_of_a_file_of_any_class_is_what_went_into_it(name: str, tmp_path: Path) -> None:
    assert differing(model(name), tmp_path, KNOWN_BY.get(name, "")) == []


@pytest.mark.nightly
@pytest.mark.parametrize("variant", VARIANTS)
def test_further_files_of_a_family_are_read_as_well(variant: str, tmp_path: Path) -> None:
    assert differing(model(*VARIANTS[variant]), tmp_path) == []


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_file_can_be_made_of_is_refused_by_what_is_lost(name: str) -> None:
    with pytest.raises(WorkerError, match=REFUSED[name]):
        answer_single_file(question(model(name)))


@pytest.mark.parametrize("what", UNKNOWN)
def test_what_diffusers_does_not_know_of_a_family_is_refused_by_its_name(what: str) -> None:
    name, config, tensor = UNKNOWN[what]
    with pytest.raises(WorkerError, match=f"does not make {re.escape(repr(tensor))}"):
        answer_single_file(question(model(name, config)))


def test_the_answer_is_kept_and_tells_where_rows_go(tmp_path: Path) -> None:
    asked = question(model("Flux2Transformer2DModel"))
    answer = ask_single_file(asked, tmp_path, "transformer")
    assert len(list(tmp_path.iterdir())) == 1
    assert ask_single_file(asked, tmp_path, "transformer") == answer
    ((rows, name, before),) = answer.places()["transformer_blocks.0.attn.to_k.weight"]
    assert (name, before, rows.start, rows.stop) == ("double_blocks.0.img_attn.qkv.weight", 64, 0, 64)
    first, second = answer.places()["norm_out.linear.weight"]
    assert [(rows.start, before) for rows, _, before in (first, second)] == [(0, 64), (64, 0)]


MATRICES = {"a": (6, 3), "b": (2, 3)}
WRONG = {
    "turns columns": (lambda file: {**file, "a": file["a"].flip(1)}, "makes 'a' of parts of rows"),
    "parts columns": (lambda file: {**file, "a": torch.cat(file["a"].chunk(2, dim=1)[::-1], 1)}, "of parts of rows"),
    "takes all of one row": (lambda file: {**file, "a": file["a"].T.reshape(6, 3)}, "makes 'a' of parts of rows"),
    "cuts": (lambda file: {**file, "a": file["a"][:5]}, "does not make 'a'"),
    "drops": (lambda file: {"b": file["b"]}, "does not make 'a'"),
    "sets None": (lambda file: {**file, "b": None}, "does not make 'b'"),
    "takes twice": (lambda file: {**file, "a": file["a"][[0, 1, 2, 3, 4, 4]]}, "leaves out some of 'x.a', or takes it"),
    "takes another": (lambda file: {**file, "b": file["a"][:2]}, "leaves out some of 'x.a', or takes it twice"),
    "fails": (
        lambda file: file["a"].reshape(5, 2),
        "than this model's .shape '.5, 2.' is invalid for input of size 18",
    ),
    "wants more": (lambda file: {**file, "c": file["c"]}, "takes 'c', and no tensor of a folder tells what that holds"),
}


def experiment(convert: Callable[[dict[str, Any]], Any]) -> SingleFile:
    asked = SingleFileRequest(class_name="Foreign", config={}, shapes=MATRICES)
    tried = Experiment(asked, Spelling(prefix="x."))
    return tried.read(
        tried.converted(lambda checkpoint, **_: convert({name[2:]: held for name, held in checkpoint.items()}))
    )


@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_come_out_whole_and_once_is_refused(what: str) -> None:
    convert, said = WRONG[what]
    with pytest.raises(WorkerError, match=rf"Of a file of Foreign, diffusers 0.*{said}") as refusal:
        experiment(convert)
    assert refusal.value.kind == "recipe"


def test_rows_are_followed_wherever_they_go() -> None:
    found = experiment(lambda file: {"a": file["a"].flip(0), "b": file["b"]})
    assert [part.start for part in found.tensors["x.a"].rows] == [5, 4, 3, 2, 1, 0]
    assert [(part.start, part.stop) for part in found.tensors["x.b"].rows] == [(0, 2)]


def test_a_class_without_files_is_refused() -> None:
    asked = SingleFileRequest(class_name="DiTTransformer2DModel", config={}, shapes={})
    with pytest.raises(WorkerError, match="reads no single file of DiTTransformer2DModel") as refusal:
        answer_single_file(asked)
    assert refusal.value.kind == "recipe"


def test_a_model_of_another_width_is_refused_with_the_librarys_reason_and_what_the_way_out_costs() -> None:
    said = "counts on other widths than this model's .split_with_sizes expects split_sizes to sum exactly to 896"
    with pytest.raises(WorkerError, match=said) as refusal:
        answer_single_file(question(model("FluxTransformer2DModel", {**FIXED, "num_attention_heads": 1})))
    assert refusal.value.kind == "recipe"
    assert "`names: diffusers`" in refusal.value.remedy
    assert "nothing does that wants those of the family, such as ComfyUI" in refusal.value.remedy
