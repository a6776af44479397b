"""What a component cannot be is said by name and kind, and costs no other question its answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from families import comparing
from families.cases import Wanted
from families.comparing import Case, Family

from pipeline.backends.oracle import conversion
from pipeline.backends.oracle.conversion import ConversionPlan, ConversionRequest, ask_library
from pipeline.errors import QuantizationError
from pipeline.source.safetensors import TensorHeader
from pipeline.worker.session import ERRORS

LLAMA = Wanted("LlamaForCausalLM", "nf4")
UNET = Wanted("UNet2DConditionModel", "torchao")


def without(question: ConversionRequest, name: str) -> ConversionRequest:
    tensors = {key: part for key, part in question.tensors.items() if key != name}
    return question.model_copy(update={"tensors": tensors})


def with_tensor(question: ConversionRequest, name: str, dtype: str, *shape: int) -> ConversionRequest:
    tensors = {**question.tensors, name: TensorHeader(dtype=dtype, shape=shape)}
    return question.model_copy(update={"tensors": tensors})


def with_config(question: ConversionRequest, **changes: Any) -> ConversionRequest:
    return question.model_copy(update={"config": {**question.config, **changes}})


Q_PROJ = "model.layers.0.self_attn.q_proj.weight"
CONV = "conv_in.weight"
BAD: dict[str, tuple[Wanted, Callable[[ConversionRequest], ConversionRequest], str, str]] = {
    "unknown class": (
        LLAMA,
        lambda question: question.model_copy(update={"class_name": "LlamaForever"}),
        "source",
        "The installed transformers has no model class LlamaForever.",
    ),
    "no model": (
        UNET,
        lambda question: question.model_copy(update={"class_name": "randn_tensor"}),
        "source",
        "The installed diffusers has no model class randn_tensor.",
    ),
    "a tensor is missing": (
        LLAMA,
        lambda question: without(question, Q_PROJ),
        "source",
        f"The tensor {Q_PROJ!r} of LlamaForCausalLM is missing from the source.",
    ),
    "a tensor is missing in diffusers": (
        UNET,
        lambda question: without(question, CONV),
        "source",
        f"The tensor {CONV!r} of UNet2DConditionModel is missing from the source.",
    ),
    "a stranger": (
        LLAMA,
        lambda question: with_tensor(question, "model.extra", "BF16", 4),
        "source",
        "LlamaForCausalLM has no tensor 'model.extra' (one of 1).",
    ),
    "a stranger in diffusers": (
        UNET,
        lambda question: with_tensor(question, "extra", "BF16", 4),
        "source",
        "UNet2DConditionModel has no tensor 'extra' (one of 1).",
    ),
    "another shape": (
        LLAMA,
        lambda question: with_tensor(question, Q_PROJ, "BF16", 3, 64),
        "source",
        f"The tensor {Q_PROJ!r} has shape [3, 64], LlamaForCausalLM wants [64, 64].",
    ),
    "float8 storage": (
        LLAMA,
        lambda question: with_tensor(question, Q_PROJ, "F8_E4M3", 64, 64),
        "source",
        f"The tensor {Q_PROJ!r} is stored as F8_E4M3, which transformers cannot take as a plain weight.",
    ),
    "integers where a weight is": (
        LLAMA,
        lambda question: with_tensor(question, Q_PROJ, "I8", 64, 64),
        "source",
        f"The tensor {Q_PROJ!r} is stored as I8, which transformers cannot take as a plain weight.",
    ),
    "tensors that the library parts": (
        Wanted("NomicBertModel", "nf4"),
        lambda question: question,
        "source",
        "transformers merges or parts tensors to make 'layers.0.self_attn.k_proj' (one of 6) of NomicBertModel, "
        "and cannot undo it once they are quantized.",
    ),
    "quantized already": (
        LLAMA,
        lambda question: with_config(question, quantization_config={"quant_method": "gptq", "bits": 4}),
        "source",
        "This LlamaForCausalLM is quantized already, with gptq.",
    ),
    "keep names nothing": (
        LLAMA,
        lambda question: question.model_copy(update={"keep": ("*.query",)}),
        "keep",
        "keep: '*.query' names no Linear module.",
    ),
    "a config that the class refuses": (
        LLAMA,
        lambda question: with_config(question, hidden_size="wide"),
        "library",
        "transformers failed on LlamaForCausalLM: StrictDataclassFieldValidationError: "
        "Validation error for field 'hidden_size'.",
    ),
}


@pytest.fixture(scope="module")
def refusals(case_of: Callable[[Wanted], Case]) -> dict[str, dict[str, Any]]:
    """What is said of every bad question, all asked at once with a good one last."""
    questions = [change(case_of(wanted).question()) for wanted, change, _, _ in BAD.values()]
    said = ask_library([*questions, case_of(LLAMA).question()], "refusals")
    return dict(zip([*BAD, "good"], said, strict=True))


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_component_is_refused_by_name(bad: str, refusals: dict[str, dict[str, Any]]) -> None:
    _, _, kind, what = BAD[bad]
    assert (refusals[bad]["error"], refusals[bad]["what"]) == (kind, what)
    assert kind in ERRORS


def test_a_question_that_fails_costs_no_other_its_answer(refusals: dict[str, dict[str, Any]]) -> None:
    assert ConversionPlan.model_validate(refusals["good"]).conversions


def test_a_process_that_falls_leaves_its_questions_to_be_asked_alone(
    monkeypatch: pytest.MonkeyPatch, case_of: Callable[[Wanted], Case], tmp_path: Path
) -> None:
    def fall(questions: list[ConversionRequest], where: str) -> list[dict[str, Any]]:
        raise QuantizationError("The libraries could not be asked.")

    monkeypatch.setattr(conversion, "ask_library", fall)
    conversion.ask_ahead([case_of(LLAMA).question(), case_of(UNET).question()], tmp_path)
    assert list(tmp_path.iterdir()) == []


def resaved(family: Family, root: Path, rename: Callable[[dict[str, Any]], dict[str, Any]]) -> Family:
    """Save a family's tensors under other names, as old files have them."""
    from safetensors.torch import load_file, save_file

    root.mkdir()
    save_file(rename(load_file(family.weights)), root / family.weights.name, {"format": "pt"})
    (root / "config.json").write_text((family.folder / "config.json").read_text())
    return Family(family.library, family.name, root)


OLD_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def in_old_attention(name: str) -> str:
    for new, old in OLD_ATTENTION.items():
        name = name.replace(f".attentions.0.{new}.", f".attentions.0.{old}.")
    return name


OTHERWISE: dict[str, tuple[Wanted, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "attention as before diffusers 0.12": (
        Wanted("AutoencoderKL", "nf4"),
        lambda tensors: {in_old_attention(name): value for name, value in tensors.items()},
    ),
    "the base model's prefix": (
        Wanted("BertModel", "torchao"),
        lambda tensors: {f"bert.{name}": value for name, value in tensors.items()},
    ),
    "norms as TensorFlow names them": (
        Wanted("BertModel", "nf4"),
        lambda tensors: {
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
            for name, value in tensors.items()
        },
    ),
    "a tied weight under its other name": (
        Wanted("T5EncoderModel", "nf4"),
        lambda tensors: {name.replace("shared.", "encoder.embed_tokens."): value for name, value in tensors.items()},
    ),
    "a tied weight under both names": (
        Wanted("T5EncoderModel", "int8"),
        lambda tensors: {**tensors, "encoder.embed_tokens.weight": tensors["shared.weight"].clone()},
    ),
    "a decoder that an encoder ignores": (
        Wanted("T5EncoderModel", "torchao"),
        lambda tensors: {
            **tensors,
            "decoder.final_layer_norm.weight": tensors["encoder.final_layer_norm.weight"].clone(),
        },
    ),
}


@pytest.fixture(scope="module")
def old_cases(
    families: dict[str, Family], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Case, ConversionPlan]]:
    """Every component with old names and what is said of it, all asked at once."""
    root = tmp_path_factory.mktemp("old")
    cases = {
        old: Case(resaved(families[wanted.name], root / old.replace(" ", "-"), rename), wanted.scheme)
        for old, (wanted, rename) in OTHERWISE.items()
    }
    said = ask_library([case.question() for case in cases.values()], "old")
    return {
        old: (case, ConversionPlan.model_validate(told)) for (old, case), told in zip(cases.items(), said, strict=True)
    }


@pytest.mark.parametrize("old", OTHERWISE)
def test_names_of_old_files_lead_to_what_the_library_writes(
    old: str, old_cases: dict[str, tuple[Case, ConversionPlan]], out: Path
) -> None:
    case, answer = old_cases[old]
    theirs = comparing.by_library(case, answer, out)
    assert comparing.differences(comparing.as_answered(case, answer), theirs) == []


def test_what_is_there_twice_is_said_to_be_the_same(old_cases: dict[str, tuple[Case, ConversionPlan]]) -> None:
    _, answer = old_cases["a tied weight under both names"]
    assert answer.repeated == {"encoder.embed_tokens.weight": "shared.weight"}
