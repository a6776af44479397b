"""What every entry of the dict of backends keeps to."""

from __future__ import annotations

import json
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
import torch
from contract.cases import MAKERS, inputs_of
from diffusers import FluxTransformer2DModel
from gguf import GGUFReader

from pipeline.backends import BACKENDS, STREAMING
from pipeline.backends.artifact import CONFIG, BuildRequest, artifact_in
from pipeline.backends.available import cuda_devices
from pipeline.backends.build import build
from pipeline.backends.build_worker import make
from pipeline.backends.loader import EVERYWHERE, Lift, lifts_of
from pipeline.errors import QuantizationError, SourceError
from pipeline.source.safetensors import read_header

every_backend = pytest.mark.parametrize("name", BACKENDS)


@every_backend
def test_a_backend_is_called_as_checkpoints_name_their_method(name: str) -> None:
    for scheme, one in BACKENDS[name].SCHEMES.items():
        options = one.options().model_dump(mode="json")
        assert BACKENDS[name].configuration(scheme, options)["quant_method"] == name


@every_backend
def test_a_library_loads_unaided_or_there_is_a_way_to_lift_what_stops_it(name: str) -> None:
    for loader in BACKENDS[name].LOADERS.values():
        assert set(loader.devices) <= set(EVERYWHERE)
        lifts = lifts_of([loader])
        assert "cpu" in loader.devices or lifts, "validation has no way to load it without a GPU"
        assert all(isinstance(lift, Lift) for lift in lifts)


@every_backend
def test_what_a_scheme_does_not_refuse_has_a_loader(name: str) -> None:
    for scheme in BACKENDS[name].SCHEMES.values():
        assert {"diffusers", "transformers"} - scheme.refuses.keys() <= BACKENDS[name].LOADERS.keys()


@every_backend
def test_a_plan_knows_or_is_told_how_large_a_weight_becomes(name: str) -> None:
    for scheme in BACKENDS[name].SCHEMES.values():
        assert name in STREAMING or scheme.bits > 0


DIFFUSERS = [name for name, backend in BACKENDS.items() if "diffusers" in backend.LOADERS]
SCHEMES = [pytest.param(name, one, id=f"{name}-{one}") for name in DIFFUSERS for one in BACKENDS[name].SCHEMES]


@pytest.mark.parametrize(("name", "scheme"), SCHEMES)
def test_a_library_alone_makes_an_artifact_that_it_can_load(
    name: str, scheme: str, components: Path, tmp_path: Path
) -> None:
    backend = BACKENDS[name]
    if backend.SCHEMES[scheme].makes_on == "cuda" and not cuda_devices():
        pytest.skip("it needs a CUDA device")
    loader = backend.LOADERS["diffusers"]
    MAKERS.get(name, make)(request_of(name, scheme, components / "transformer", tmp_path))
    artifact = artifact_in(tmp_path, loader.form)
    assert artifact.files.keys() == {CONFIG, *artifact.weights}
    config = json.loads((tmp_path / artifact.config).read_text())
    assert config.get("quantization_config", {}).get("quant_method") == (name if loader.form.config else None)
    assert "_name_or_path" not in config
    (weights,) = artifact.weights
    assert kinds_in(tmp_path / weights) - {"BF16", "F32"} or scheme == "bf16", "nothing was quantized"
    (lift,) = lifts_of([loader]) or [None]
    if loader.part:
        model = resolve_name(loader.part)(FluxTransformer2DModel, tmp_path, torch.bfloat16)
        held = {type(kind).__name__ for module in model.modules() for kind in (module, getattr(module, "weight", None))}
        assert held & {"GGUFLinear", "QuantizedTensor", "BFLFP8RLinear", "BFLNVFP4Linear"}
    else:
        further = lift.arguments if lift else {}
        model = FluxTransformer2DModel.from_pretrained(tmp_path, dtype=torch.bfloat16, **further)
        assert model.is_quantized


def kinds_in(path: Path) -> set[str]:
    """Return the dtypes of the tensors in a file of weights."""
    if path.suffix == ".gguf":
        return {tensor.tensor_type.name for tensor in GGUFReader(path).tensors}
    return {slot.dtype for slot in read_header(path).values()}


def request_of(name: str, scheme: str, source: Path, out: Path, class_name: str = "FluxTransformer2DModel") -> Any:
    options = BACKENDS[name].SCHEMES[scheme].options().model_dump(mode="json")
    return BuildRequest(
        backend=name,
        library="diffusers",
        class_name=class_name,
        source=source,
        out=out,
        dtype="bfloat16",
        quantization=BACKENDS[name].configuration(scheme, options) | inputs_of(name, scheme),
    )


def test_a_process_of_its_own_makes_the_same_and_says_what_it_made(components: Path, tmp_path: Path) -> None:
    request = request_of("bitsandbytes", "int8", components / "transformer", tmp_path / "here")
    make(request)
    made = build(request.model_copy(update={"out": tmp_path / "there"}))
    assert made == artifact_in(tmp_path / "here")


def test_what_a_library_cannot_make_is_told_by_backend_and_class(components: Path, tmp_path: Path) -> None:
    request = request_of("quanto", "int8", components / "transformer", tmp_path, "FluxForever")
    with pytest.raises(
        SourceError, match="quanto, FluxForever: The installed diffusers has no model class FluxForever"
    ):
        build(request)
    request = request_of("quanto", "int8", tmp_path / "nowhere", tmp_path)
    with pytest.raises(QuantizationError, match="diffusers failed to quantize FluxTransformer2DModel: OSError"):
        build(request)
