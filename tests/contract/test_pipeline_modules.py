"""Models whose class lives in the module of a pipeline are copied, whichever library's names their files have.

``model_index.json`` names such a one by the pipeline's module, ``["stable_audio", "StableAudioProjectionModel"]``:
that does not tell whose model it derives from. The list is what the installed diffusers has; a new one shows here.
"""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import pipelines
from transformers import PreTrainedModel

from pipeline.source.classes import loads_plainly, pipelines_of_diffusers
from pipeline.source.layout import Folder, read_layout
from tests.desk import Desk, Shelf

ROOT = Path(diffusers.__file__).parent
DEFINED = re.compile(r"^class \w+\([^)]*(ModelMixin|PreTrainedModel|ReferenceModel|BertModel)\b", re.MULTILINE)
MODELS = {
    "diffusers": {
        "ace_step": {
            "AceStepAudioTokenDetokenizer",
            "AceStepAudioTokenizer",
            "AceStepConditionEncoder",
            "AceStepLyricEncoder",
            "AceStepTimbreEncoder",
        },
        "audioldm2": {"AudioLDM2ProjectionModel", "AudioLDM2UNet2DConditionModel"},
        "deepfloyd_if": {"IFWatermarker"},
        "flux": {"ReduxImageEncoder"},
        "ideogram4": {"Ideogram4PromptEnhancerHead"},
        "ltx": {"LTXLatentUpsamplerModel"},
        "ltx2": {
            "LTX2DurationHead",
            "LTX2LatentUpsamplerModel",
            "LTX2TextConnectors",
            "LTX2Vocoder",
            "LTX2VocoderWithBWE",
        },
        "shap_e": {"MLPNeRSTFModel", "ShapEParamsProjModel", "ShapERenderer"},
        "stable_audio": {"StableAudioProjectionModel"},
        "stable_audio_3": {"StableAudio3DurationEmbedder"},
        "stable_diffusion": {"CLIPImageProjection", "StableUnCLIPImageNormalizer"},
    },
    "transformers": {
        "deepfloyd_if": {"IFSafetyChecker"},
        "kandinsky": {"MultilingualCLIP"},
        "kolors": {"ChatGLMModel", "ChatGLMPreTrainedModel"},
        "latent_diffusion": {"LDMBertEncoder", "LDMBertModel", "LDMBertPreTrainedModel"},
        "stable_diffusion": {"StableDiffusionSafetyChecker"},
    },
}


def models_of_pipelines() -> dict[str, dict[str, set[str]]]:
    """Return the models that ``save_pretrained`` names by a pipeline's module, by library and module."""
    found: dict[str, dict[str, set[str]]] = {"diffusers": {}, "transformers": {}}
    for path in sorted(ROOT.glob("pipelines/*/*.py")):
        if not DEFINED.search(path.read_text(encoding="utf-8")):
            continue
        module = importlib.import_module(
            f"diffusers.pipelines.{path.parent.name}.{path.stem}".removesuffix(".__init__")
        )
        for name, kind in vars(module).items():
            if (
                not isinstance(kind, type)
                or kind.__module__ != module.__name__
                or not hasattr(pipelines, path.parent.name)
            ):
                continue
            for library, base in (("diffusers", diffusers.ModelMixin), ("transformers", PreTrainedModel)):
                if issubclass(kind, base):
                    found[library].setdefault(path.parent.name, set()).add(name)
    return found


def test_the_models_of_pipelines_are_these_and_all_are_known() -> None:
    assert models_of_pipelines() == MODELS
    assert {module for modules in MODELS.values() for module in modules} <= pipelines_of_diffusers()


@pytest.mark.parametrize("library", MODELS)
def test_the_files_of_each_are_found(library: str, tmp_path: Path) -> None:
    listed = {name: (module, name) for module, names in MODELS[library].items() for name in names}
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "AnyPipeline", **listed}))
    for name in listed:
        stem = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}[library]
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / f"{stem}.safetensors").write_bytes(b"")
        (tmp_path / name / f"{stem}.fp16.safetensors").write_bytes(b"")
    place = Folder(tmp_path)
    assert all(part.weights for part in read_layout(place).components.values())
    assert all(part.variant == "fp16" for part in read_layout(place, "fp16").components.values())


def test_code_of_a_repository_is_in_no_module_that_is_looked_into() -> None:
    assert all(map(loads_plainly, ("diffusers", "transformers", "stable_audio", "diffusers.models.unets")))
    assert not any(map(loads_plainly, ("my_model", "os", "pipelines", "deprecated.unclip", "")))


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a projection model and a denoiser as the library does, and name them as it does."""
    from diffusers import StableAudioDiTModel
    from diffusers.pipelines.stable_audio import StableAudioProjectionModel

    folder = tmp_path_factory.mktemp("audio")
    torch.manual_seed(0)
    parts: dict[str, Any] = {
        "projection_model": StableAudioProjectionModel(
            text_encoder_dim=32, conditioning_dim=32, min_value=0, max_value=32
        ),
        "transformer": StableAudioDiTModel(
            sample_size=8, in_channels=4, out_channels=4, num_layers=1, attention_head_dim=32, num_attention_heads=2,
            num_key_value_attention_heads=2, cross_attention_dim=32, cross_attention_input_dim=32,
            global_states_input_dim=64, time_proj_dim=32,
        ),
    }  # fmt: skip
    for name, part in parts.items():
        part.to(torch.bfloat16).save_pretrained(folder / name)
    index = {
        "_class_name": "StableAudioPipeline",
        "projection_model": ["stable_audio", "StableAudioProjectionModel"],
        "text_encoder": [None, None],
        "transformer": ["diffusers", "StableAudioDiTModel"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, Shelf("http://127.0.0.1:9", tmp_path / "hub", "0" * 40), tmp_path / "home")


SCHEME = ("--backend", "torchao", "--scheme", "int8-weight-only")


def test_the_neighbour_of_one_is_quantized_and_it_is_copied(audio: Path, desk: Desk) -> None:
    done = desk.publish("quantize", audio, "--out", "out", *SCHEME)
    assert done.code == 0, done.err
    out = desk.folder / "out"
    for path in (audio / "projection_model").iterdir():
        assert (out / "projection_model" / path.name).read_bytes() == path.read_bytes()
    config = json.loads((out / "transformer" / "config.json").read_bytes())
    assert config["quantization_config"]["quant_method"] == "torchao"


@pytest.mark.parametrize(
    ("changes", "arguments", "code", "told"),
    [
        (
            {},
            ("--component", "projection_model"),
            2,
            "projection_model is a stable_audio.StableAudioProjectionModel and",
        ),
        ({}, ("--component", "text_encoder"), 2, "The source has no component 'text_encoder'"),
        ({"transformer": ["own_code", "Own"]}, (), 4, "transformer is a own_code.Own, which is a class neither of"),
        ({"_class_name": ["own_code", "Own"]}, (), 4, "names no pipeline of diffusers"),
    ],
)
def test_what_is_asked_of_another_class_is_refused(
    audio: Path, desk: Desk, changes: Any, arguments: tuple[str, ...], code: int, told: str
) -> None:
    folder = desk.folder / "source"
    folder.mkdir()
    for name in ("projection_model", "transformer"):
        (folder / name).mkdir()
        for path in (audio / name).iterdir():
            (folder / name / path.name).hardlink_to(path)
    index = json.loads((audio / "model_index.json").read_bytes())
    (folder / "model_index.json").write_text(json.dumps(index | changes))
    done = desk.publish("quantize", folder, "--out", "out", *SCHEME, *arguments)
    assert (done.code, told in done.error) == (code, True), done.err
