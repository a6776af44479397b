"""The defects of a speech recognizer: what it hears, how it writes that down, and when it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from tests.gate.damage import Change, Tensors, document, setting, tensors, weights
from tests.gate.defects import Defect, as_in, each, fresh, one
from tests.gate.formats import fewer_levels, renamed
from tests.gate.text_defects import (
    GENERATION,
    cut,
    exchanged,
    file,
    layer,
    of_an_earlier_revision,
    with_nan,
    without,
    without_quantization_config,
    zeroed,
)

ENCODER, DECODER = "model.encoder", "model.decoder"
QUERY: Final = f"{DECODER}.layers.1.self_attn.q_proj"
OUTPUT: Final = f"{ENCODER}.layers.2.self_attn.out_proj"
CROSS, OTHER = (f"{DECODER}.layers.{number}.encoder_attn" for number in (1, 2))
WIDE: Final = f"{DECODER}.layers.1.fc2"
LAST: Final = f"{DECODER}.layers.3.fc1"
EMBEDDING: Final = f"{DECODER}.embed_tokens.weight"
NORM: Final = f"{DECODER}.layer_norm"
EXTRACTOR: Final = "preprocessor_config.json"
PROCESSOR: Final = "processor_config.json"
END, START, YOU = 50256, 50257, 345  # <|endoftext|>, <|startoftranscript|>, " you"
CODES, SCALE = "._weight_qdata", "._weight_scale"


def config(names: str, name: str = "config.json", about: str = "file", **values: Any) -> Defect:
    """Return a defect of a file beside the weights."""
    return file(names, setting(name, **values), about)


def saying(token: int, by: float) -> Change:
    """Return what has the decoder say a token more often at every step, or less often."""

    def change(held: Tensors) -> Tensors:
        row = held[EMBEDDING][token].float()
        return {f"{NORM}.bias": (held[f"{NORM}.bias"].float() + by * row / row.norm()).half()}

    return change


def _heads_swapped(held: Tensors) -> Tensors:
    return {f"{QUERY}{part}": exchanged(held[f"{QUERY}{part}"]) for part in (CODES, SCALE)}


def _cross_attention_of_another_layer(held: Tensors) -> Tensors:
    return renamed(held, OTHER, CROSS)


def _keys_and_values_swapped(held: Tensors) -> Tensors:
    places = [(one, other, part) for one, other in ("kv", "vk") for part in (CODES, SCALE)]
    return {f"{CROSS}.{one}_proj{part}": held[f"{CROSS}.{other}_proj{part}"] for one, other, part in places}


def _untied(folder: Path, _strength: float) -> None:
    """A head of its own that nobody trained."""
    with tensors(folder) as held:
        held["proj_out.weight"] = fresh(held[EMBEDDING])
    with document(folder / "config.json") as held:
        held["tie_word_embeddings"] = False


def _other_vocabulary(folder: Path, _strength: float) -> None:
    """The words of the tokenizer have each other's numbers."""
    with document(folder / "tokenizer.json") as held:
        words = held["model"]["vocab"]
        held["model"]["vocab"] = dict(zip(words, reversed(words.values()), strict=True))


def _without_moments(folder: Path, _strength: float) -> None:
    """The tokenizer has not the moments by which long clips are cut."""
    with document(folder / "tokenizer.json") as held:
        held["added_tokens"] = [token for token in held["added_tokens"] if not token["content"].endswith(".00|>")]


def _processor_beside(folder: Path, _strength: float) -> None:
    """A second description of the extractor, which transformers reads before the first."""
    with document(folder / EXTRACTOR) as held:
        extractor = {**held, "hop_length": 320, "nb_max_frames": 1500}
    (folder / PROCESSOR).write_text(json.dumps({"processor_class": "WhisperProcessor", "feature_extractor": extractor}))


SPEECH_DEFECTS: Final[dict[str, Defect]] = {
    # Weights
    "heads swapped": layer("torchao-int8", QUERY, _heads_swapped),
    "scale doubled": layer("torchao-int8", WIDE, one(f"{WIDE}{SCALE}", lambda scale: scale * 2)),
    "sign flipped": layer("torchao-int8", OUTPUT, one(f"{OUTPUT}{CODES}", lambda codes: -codes)),
    "layer never written": layer("torchao-int8", LAST, one(f"{LAST}{CODES}", zeroed)),
    "cross-attention of another layer": layer("torchao-int8", CROSS, _cross_attention_of_another_layer),
    "keys and values swapped": layer("torchao-int8", CROSS, _keys_and_values_swapped),
    "layer at 4 bits": layer("torchao-int8", WIDE, one(f"{WIDE}{CODES}", lambda codes: fewer_levels(codes, 4))),
    "all layers at 2 bits": layer("torchao-int8", "layers", each(CODES, lambda codes: fewer_levels(codes, 2))),
    "layers of an earlier revision": layer("torchao-int8", "layers", of_an_earlier_revision),
    "scales of another order": layer("bnb-nf4", QUERY, one(f"{QUERY}.weight.absmax", lambda scales: scales.flip(0))),
    "one block of NaN": layer("bnb-nf4", QUERY, one(f"{QUERY}.weight.absmax", with_nan), weakens=False),
    "norm of another layer": layer(
        "bnb-nf4", "final_layer_norm", as_in(f"{ENCODER}.layers.0.final_layer_norm.weight", f"{NORM}.weight")
    ),
    "bands upside down": layer("bnb-nf4", "conv1", one(f"{ENCODER}.conv1.weight", lambda kernel: kernel.flip(1))),
    "bias dropped": layer("bnb-nf4", "conv2.bias", one(f"{ENCODER}.conv2.bias", zeroed)),
    "positions shifted": layer(
        "torchao-int8", f"{DECODER}.embed_positions", one(f"{DECODER}.embed_positions.weight", lambda at: at.roll(1, 0))
    ),
    "half a minute cut short": layer(
        "torchao-int8",
        f"{ENCODER}.embed_positions",
        one(f"{ENCODER}.embed_positions.weight", lambda at: at * (at.new_ones(len(at), 1).cumsum(0) < 500)),
    ),
    "embedding rolled": layer("bnb-nf4", "embed_tokens", one(EMBEDDING, lambda rows: rows.roll(1, 0))),
    "embedding cut short": layer(
        "bnb-nf4", "embed_tokens", one(EMBEDDING, lambda rows: rows * (rows.new_ones(len(rows), 1).cumsum(0) < 40_000))
    ),
    "embedding untied": file("tie_word_embeddings", _untied),
    # What is said, and when that ends
    "silence": layer("torchao-int8", f"{NORM}.bias", saying(END, 40.0)),
    "endless": layer("torchao-int8", f"{NORM}.bias", saying(END, -40.0)),
    "words in silence": layer("torchao-int8", f"{NORM}.bias", saying(YOU, 10.0)),
    "clip ignored": layer("torchao-int8", "encoder_attn.out_proj", each(f"encoder_attn.out_proj{SCALE}", zeroed)),
    # Config
    "cache lost": config("use_cache", use_cache=False),
    "wrong activation": config("activation_function", activation_function="relu"),
    "scaled embedding": config("scale_embedding", scale_embedding=True),
    "decoder layer skipped": config("decoder_layers", decoder_layers=3),
    "heads of twice the size": config("decoder_attention_heads", decoder_attention_heads=3, encoder_attention_heads=3),
    "half of the places": config("", about="load", max_source_positions=750),
    # What is heard
    "bands of another model": config("", EXTRACTOR, "load", feature_size=128),
    "wrong hop": config("hop_length", EXTRACTOR, hop_length=200),
    "wrong window": config("n_fft", EXTRACTOR, n_fft=512),
    "wrong rate": config("", EXTRACTOR, "load", sampling_rate=8_000),
    "dithered": config("dither", EXTRACTOR, dither=0.1),
    "half of the window": config("chunk_length", EXTRACTOR, chunk_length=15),
    "extractor missing": file("", without(EXTRACTOR), "load"),
    "second extractor": file("hop_length", _processor_beside),
    # Tokenizer
    "tokenizer of another model": file("vocabulary", _other_vocabulary),
    "tokenizer without moments": file("added_tokens", _without_moments),
    "tokenizer missing": file("it is another model's", without("tokenizer.json"), "load"),
    # How it is generated
    "forced tokens lost": config("generation_config", GENERATION, forced_decoder_ids=None),
    "suppressed tokens lost": config("generation_config", GENERATION, suppress_tokens=None, begin_suppress_tokens=None),
    "start of another model": config("generation_config", GENERATION, decoder_start_token_id=START + 1),
    "end lost": config("generation_config", GENERATION, eos_token_id=None),
    "end suppressed": config("generation_config", GENERATION, suppress_tokens=[END]),
    "cut off": config("generation_config", GENERATION, max_length=8),
    "moments of another model": config("generation_config", GENERATION, no_timestamps_token_id=50363),
    "defaults of generation missing": file("generation config", without(GENERATION), "load"),
    # What does not load, or with random values for the weights that are not there
    "quantization_config missing": file("is not now", without_quantization_config, "layer"),
    "file cut": file("", cut, "load"),
    # The reference itself
    "reference that never ends": Defect(
        "source", setting(GENERATION, suppress_tokens=[END]), "source", "endless", weakens=False
    ),
    "reference that hears nothing": Defect(
        "source", weights("", saying(END, 200.0)), "source", "is empty, where", weakens=False
    ),
    "reference with the words of another model": Defect(
        "source", _other_vocabulary, "source", "nothing to do with the clips", weakens=False
    ),
}
