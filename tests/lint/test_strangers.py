"""Files of strangers: whatever their bytes are, they are judged or refused, and nothing else happens."""

from __future__ import annotations

import json
import os
import random
import struct
from collections.abc import Iterator
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.backends.gguf.llama_cpp import ARCHITECTURES
from pipeline.cli.annotations import as_sarif
from pipeline.cli.lint import spelled
from pipeline.errors import SourceError
from pipeline.files import ListedFile
from pipeline.lint import Linted, lint
from pipeline.lint.faults import RULES, Fault
from pipeline.lint.pass_over import near_zero
from pipeline.lint.spelled import Spell
from pipeline.source.layout import Folder
from tests.lint.models import MADE

SIZES = {"F32": 4, "BF16": 2, "U8": 1, "I8": 1, "F8_E4M3": 1, "I32": 4, "F16": 2}
ENDS = (
    "weight", "weight_scale", "weight_scale_2", "input_scale", "comfy_quant", "SCB", "weight.absmax", "weight._data",
    "weight.quant_state.bitsandbytes__nf4", "_weight_qdata", "weight_packed", "scale_weight", "weight._scale",
    "weight._data._data", "weight.nested_absmax", "weight_global_scale", "weight_shape", "weight_zero_point",
    "weight._shift", "weight_s_rel", "weight.quant_map",
)  # fmt: skip


Header = dict[str, tuple[str, list[int]]]
NAMES = [f"{layer}.{end}" for layer in "ab" for end in ENDS]


class Memory:
    """A place whose files are bytes."""

    where = "memory"

    def __init__(self, **files: bytes) -> None:
        self._files = {name.replace("_dot_", "."): content for name, content in files.items()}
        self.files = {name: ListedFile(size=len(content)) for name, content in self._files.items()}

    def read(self, name: str, offset: int, length: int) -> bytes:
        return self._files[name][offset : offset + length]

    def read_large(self, name: str, offset: int, length: int, _block: memoryview) -> bytes:
        return self.read(name, offset, length)


def looked_at(place: Memory | Folder, base: Memory | Folder | None = None, spell: Spell | None = None) -> Linted | None:
    """Lint a place; everything that is found is of a known rule, and can be told and written."""
    try:
        found = lint(place, base, spell=spell)
    except SourceError:
        return None
    for fault in found.everything:
        assert fault.rule in RULES
        assert str(fault).isprintable()
    json.dumps(found.json(), allow_nan=False)
    return found


def in_order(header: Header, content: bytes, metadata: dict[str, str] | None = None) -> bytes:
    """Return a file of safetensors whose tensors begin with the content, over and over."""
    entries: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    offset = 0
    for name, (dtype, shape) in header.items():
        end = offset + SIZES[dtype] * prod(shape)
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + (content * (offset // len(content) + 1))[:offset]


@st.composite
def models(draw: st.DrawFn) -> bytes:
    """A file of safetensors that is in order, with names of quantized layers, and dtypes and shapes of no format."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=8))
    shapes = st.lists(st.integers(0, 5).map(lambda size: size * 8), max_size=3)
    header = {name: (draw(st.sampled_from(sorted(SIZES))), draw(shapes)) for name in names}
    said = draw(st.sampled_from(SAID))
    metadata = {"_quantization_metadata": said, "tensor_names": said, "a.weight": said} if said else None
    return in_order(header, random.Random(draw(st.integers(0, 9))).randbytes(100_000), metadata)


SAID = (
    "",
    "{}",
    "[",
    '["a.weight", "b.weight"]',
    '{"layers": 3}',
    '{"layers": {"a": {"format": "nvfp4"}, "b": 7}}',
    '{"layers": {"a": {"format": "int8_tensorwise", "convrot": true, "convrot_groupsize": "x"}}}',
    '{"_type": "Int8Tensor", "_tensor_data_names": [3]}',
)
ODD: list[Any] = [None, True, 0, -1, 2.5, 10**30, "", "x", "\x00", [], ["x"], [None], {}, {"a": 1}, {"a": ["x"]}]


def any_of(*honest: Any) -> st.SearchStrategy[Any]:
    """A value as a configuration may have it, or one of a type that it has not."""
    return st.sampled_from([*honest, *ODD])


def some(**entries: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """An object that has some of the entries, or something else."""
    return st.fixed_dictionaries({}, optional=entries) | any_of()


METHODS = any_of("bitsandbytes", "torchao", "quanto", "compressed-tensors", "modelopt", "gptq")
CODES = some(num_bits=any_of(4, 8), group_size=any_of(8, -1), type=any_of("int", "float"), symmetric=any_of(False))
GROUP = some(weights=CODES, input_activations=some(dynamic=any_of(False)), targets=any_of(["Linear"]))
ALGORITHM = any_of("FP8", "NVFP4")
QUANTIZED = some(quant_method=METHODS, quant_algo=ALGORITHM, config_groups=some(a=GROUP, b=GROUP), ignore=any_of())
CONFIGS = some(quantization_config=QUANTIZED)
THEIRS = some(quantization=some(quant_algo=ALGORITHM, quant_method=METHODS))
FILES = any_of("model.safetensors", "config.json", "model.safetensors.index.json", "../up", "/root", "a\0b", "x.gguf")
INDEXES = some(weight_map=st.dictionaries(st.sampled_from(NAMES), FILES, max_size=3) | any_of())
BROKEN = st.sampled_from([b"", b"{", b"\xff"])


def texts(values: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """Files of JSON."""
    return values.map(lambda value: json.dumps(value).encode()) | BROKEN


@settings(deadline=None, max_examples=60)
@given(models(), models(), texts(CONFIGS), texts(THEIRS), texts(INDEXES))
def test_tensors_of_no_format_are_judged(
    content: bytes, base: bytes, config: bytes, theirs: bytes, index: bytes
) -> None:
    beside = {"config_dot_json": config, "hf_quant_config_dot_json": theirs}
    beside["model_dot_safetensors_dot_index_dot_json"] = index
    files = {"model_dot_safetensors": content} | {name: text for name, text in beside.items() if text}
    looked_at(Memory(**files), Memory(model_dot_safetensors=base))


FOUR_BITS: Header = {
    "a.weight": ("U8", [4, 16]),
    "a.weight_scale": ("F8_E4M3", [4, 2]),
    "a.weight_scale_2": ("F32", []),
}
SCALAR: Header = {**FOUR_BITS, "b.weight": ("U8", []), "b.weight_scale_2": ("F32", [])}
PACKED: Header = {"b.weight_packed": ("U8", []), "b.weight_scale": ("F32", []), "b.weight_global_scale": ("F32", [])}
COUNTED: Header = {f"a.{number}.weight": ("F32", [1]) for number in ("1" * 5000, *"123456789")}
MODELOPT = {"quant_method": "modelopt", "quant_algo": "NVFP4"}
INTEGERS: Header = {"a._weight_qdata": ("I8", [4, 16])}
UNSCALED = {
    "tensor_names": '["a.weight"]',
    "a.weight": '{"_type": "Int8Tensor", "_tensor_data_names": ["qdata"]}',
}
STATE = b'{"quant_type": "nf4", "blocksize": 64, "shape": [4, 64]}'
BLOCKS: Header = {
    "a.weight.quant_state.bitsandbytes__nf4": ("U8", [len(STATE)]),
    "a.weight": ("BF16", [128, 1]),
    "a.weight.absmax": ("F32", [4]),
    "a.weight.quant_map": ("F32", [16]),
}
DEFECTS: dict[str, tuple[Header, dict[str, Any], set[str]]] = {
    "an algorithm that is a list": (FOUR_BITS, {"config": {}, "theirs": ["NVFP4"]}, {"marker-unknown"}),
    "algorithms of two types": (FOUR_BITS, {"config": MODELOPT, "theirs": {"a": 1}}, {"index-disagrees"}),
    "an index that names itself": (FOUR_BITS, {"index": "model.safetensors.index.json"}, {"index-disagrees"}),
    "an index that names a configuration": (FOUR_BITS, {"index": "config.json", "config": {}}, {"index-disagrees"}),
    "nvfp4 that is a scalar": (SCALAR, {}, {"weight-wrong"}),
    "packed codes that are a scalar": (PACKED, {}, {"weight-wrong"}),
    "a number of 5000 digits": (COUNTED, {}, set()),
    "codes of bitsandbytes' that are twice as many": (BLOCKS, {"content": STATE}, {"weight-wrong"}),
    "an entry of torchao's without a scale": (INTEGERS, {"metadata": UNSCALED}, {"marker-unknown"}),
}


SETTINGS = (
    "hidden_size num_hidden_layers max_position_embeddings intermediate_size vocab_size num_attention_heads head_dim "
    "num_key_value_heads d_model d_ff d_kv num_layers num_heads n_positions rms_norm_eps layer_norm_epsilon"
)
STRETCH = {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4}
STRETCH |= {"rope_theta": 1e4, "original_max_position_embeddings": 8}
HONEST = {**dict.fromkeys(SETTINGS.split(), 2), "architectures": ["LlamaForCausalLM"], "rope_parameters": STRETCH}


def spoiled(honest: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with some entries that are odd."""
    return st.dictionaries(st.sampled_from(sorted(honest)), any_of(1, 3), max_size=2).map(lambda odd: honest | odd)


TURNS = spoiled(STRETCH).map(lambda turns: {**HONEST, "rope_parameters": turns})
CALLED = st.sampled_from(list(ARCHITECTURES)).flatmap(lambda name: spoiled({**HONEST, "architectures": [name]}))
LAYER = st.sampled_from(["q_proj", "k_proj", "v_proj"]).map(lambda name: f"model.layers.0.self_attn.{name}.weight")
MATRICES = st.dictionaries(LAYER, st.tuples(st.just("F32"), st.lists(st.integers(0, 4), max_size=2)), min_size=1)


@settings(deadline=None, max_examples=100)
@given(MATRICES, TURNS | CALLED)
def test_bases_of_no_kind_are_compared_with(header: Header, config: dict[str, Any]) -> None:
    base = Memory(model_dot_safetensors=in_order(header, b"\1"), config_dot_json=json.dumps(config).encode())
    content = in_order({"blk.0.attn_q.weight": ("F32", [4, 4])}, b"\2")
    looked_at(Memory(model_dot_safetensors=content), base, partial(spelled, Path("unused")))


@pytest.mark.parametrize("name", DEFECTS)
def test_what_ended_a_lint_is_judged(name: str) -> None:
    header, said, rules = DEFECTS[name]
    files = {"model_dot_safetensors": in_order(header, said.get("content", b"\1"), said.get("metadata"))}
    if "config" in said:
        files["config_dot_json"] = json.dumps(
            {"quantization_config": said["config"]} if said["config"] else {}
        ).encode()
    if "theirs" in said:
        files["hf_quant_config_dot_json"] = json.dumps({"quantization": {"quant_algo": said["theirs"]}}).encode()
    if "index" in said:
        text = json.dumps({"weight_map": {"a.weight": said["index"]}})
        files["model_dot_safetensors_dot_index_dot_json"] = text.encode()
    found = looked_at(Memory(**files))
    assert found
    assert rules <= {fault.rule for fault in found.everything}


def test_scales_of_the_size_of_float32_are_not_next_to_zero() -> None:
    assert near_zero(np.array([3e38, 3e38, 1], np.float32)).tolist() == [False, False, True]


def test_a_name_that_is_no_text_is_written_into_sarif() -> None:
    fault = Fault("file-broken", "It is no file.", os.fsdecode(b"\xff.safetensors"))
    (run,) = json.loads(as_sarif([fault], "1", "publish lint", RULES))["runs"]
    (place,) = run["results"][0]["locations"]
    assert place["physicalLocation"]["artifactLocation"]["uri"] == "%FF.safetensors"


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=300), st.sampled_from([b"", b"GGUF\3\0\0\0", b"\x10\0\0\0\0\0\0\0{"]))
def test_junk_is_refused(content: bytes, begin: bytes) -> None:
    for name in ("model_dot_safetensors", "model_dot_gguf"):
        found = looked_at(Memory(**{name: begin + content}))
        assert found is None or found.first


@pytest.fixture(scope="module")
def originals(made: Path) -> dict[str, bytes]:
    """The bytes of a file in each format."""
    files = {
        name: next(path for path in (made / name).iterdir() if path.suffix in {".gguf", ".safetensors"})
        for name in MADE
    }
    return {name: path.read_bytes() for name, path in files.items()}


def mutations(content: bytes, seed: int) -> Iterator[bytes]:
    """Yield a file with some bytes changed, mostly of its header and its ends, or with a piece lost or twice."""
    chance = random.Random(seed)
    for _ in range(4):
        spoiled = bytearray(content)
        reach = chance.choice([64, 4096, 60_000, len(content)])
        for _ in range(chance.choice([1, 3, 30])):
            spoiled[chance.randrange(min(reach, len(spoiled)))] = chance.choice([0, 1, 0x22, 0x7F, 0x80, 0xFF])
        yield bytes(spoiled)
    cut = chance.randrange(len(content))
    yield content[:cut]
    yield content[:cut] + content[cut // 2 :]


@pytest.mark.parametrize("name", MADE)
def test_a_file_with_changed_bytes_is_judged(name: str, originals: dict[str, bytes]) -> None:
    ending = "gguf" if name.startswith("gguf") else "safetensors"
    base = Memory(model_dot_safetensors=originals["plain"])
    for content in mutations(originals[name], len(name)):
        looked_at(Memory(**{f"model_dot_{ending}": content}), base)
