"""Where a library packs by itself, on a GPU or for want of a kernel, the stream gets the same from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from contract.cases import ON_CPU, inputs_of

from pipeline.backends import BACKENDS
from pipeline.backends.available import cuda_devices, require_device
from pipeline.backends.library import LibraryPacking
from pipeline.errors import CannotHereError, QuantizationError
from pipeline.quantize.build import Packer

ON_DEVICES = [pair for pair in ON_CPU if pair[0] != "gguf"]  # whose package is numpy's
ON_GPU = [("torchao", "int4-weight-only"), ("torchao", "float8-dynamic")]
NAME, SHAPE = "blocks.0.weight", (96, 256)


def packer(backend: str, scheme: str, device: str = "cpu") -> Packer:
    options = BACKENDS[backend].SCHEMES[scheme].options().model_dump(mode="json") | inputs_of(backend, scheme)
    return Packer(BACKENDS[backend], scheme, options, device)


def weight() -> np.ndarray:
    torch.manual_seed(0)
    return torch.randn(SHAPE).bfloat16().reshape(-1).view(torch.uint16).numpy()


@pytest.mark.parametrize(("backend", "scheme"), ON_CPU)
def test_library_and_kernel_hand_the_stream_the_same(backend: str, scheme: str) -> None:
    kernel, values = packer(backend, scheme).packing(NAME, SHAPE, "bfloat16"), weight()
    parts = kernel.pack(0, values)
    done = kernel.finish()
    ours = {name: content for name, _, content in parts} | dict(done.tensors)
    library = LibraryPacking(BACKENDS[backend], scheme, packer(backend, scheme).options, NAME, SHAPE, "bfloat16")
    assert library.unit == values.size
    assert library.pack(0, values) == []
    theirs = library.finish()
    assert list(theirs.tensors) == list(BACKENDS[backend].layout(scheme, library.options, NAME, SHAPE, "bfloat16"))
    assert {name: content.tobytes() for name, content in theirs.tensors.items()} == {
        name: content.tobytes() for name, content in ours.items()
    }
    assert theirs.metadata == packer(backend, scheme).describe(NAME, SHAPE, "bfloat16")


@pytest.mark.parametrize(("backend", "scheme"), ON_DEVICES)
def test_a_library_packs_on_the_device_that_the_weight_is_on(backend: str, scheme: str) -> None:
    elsewhere = torch.empty(SHAPE, dtype=torch.bfloat16, device="meta")
    packed = BACKENDS[backend].pack(scheme, packer(backend, scheme).options, NAME, elsewhere).tensors
    assert max(packed.values(), key=torch.Tensor.numel).device.type == "meta"


@pytest.mark.parametrize(("backend", "scheme"), ON_CPU)
def test_the_cpu_takes_the_kernel_and_a_gpu_the_library(backend: str, scheme: str) -> None:
    assert not isinstance(packer(backend, scheme).packing(NAME, SHAPE, "bfloat16"), LibraryPacking)
    chosen = packer(backend, scheme, "cuda").packing(NAME, SHAPE, "bfloat16")
    assert isinstance(chosen, LibraryPacking)
    assert chosen.device == "cuda"


@pytest.mark.parametrize(("backend", "scheme"), ON_GPU)
def test_what_only_a_gpu_can_make_goes_there_and_fills_the_header_in_last(backend: str, scheme: str) -> None:
    chosen = packer(backend, scheme)
    assert not chosen.describes
    packing = chosen.packing(NAME, SHAPE, "bfloat16")
    assert isinstance(packing, LibraryPacking)
    assert packing.device == "cuda"


@pytest.mark.skipif(bool(cuda_devices()), reason="this machine has a GPU")
def test_a_library_that_fails_is_told_by_the_tensors_name() -> None:
    packing = LibraryPacking(BACKENDS["torchao"], "int4-weight-only", {"group_size": 128}, NAME, SHAPE, "bfloat16")
    with pytest.raises(QuantizationError, match=r"torchao failed on tensor 'blocks\.0\.weight' of shape \[96, 256\]"):
        packing.pack(0, weight())


@pytest.mark.skipif(bool(cuda_devices()), reason="this machine has a GPU")
def test_a_device_that_is_not_here_is_refused() -> None:
    require_device("cpu")
    with pytest.raises(CannotHereError, match="no CUDA device here"):
        require_device("cuda")
