"""The defects of a language model that is quantized alone: its folder is the component."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.gate.damage import Change, Spoil, Tensors, document, setting, tensors, weights
from tests.gate.defects import Defect, as_in, each, fresh, noisy, one, swapped
from tests.gate.formats import fewer_levels, requantized

BLOCK: Final = "model.layers.3"
QUERY: Final = f"{BLOCK}.self_attn.q_proj"
OUTPUT: Final = f"{BLOCK}.self_attn.o_proj"
GATE, UP, DOWN = (f"{BLOCK}.mlp.{part}_proj" for part in ("gate", "up", "down"))
EMBEDDING: Final = "model.embed_tokens.weight"
HEAD: Final = 64  # rows of a head
TEMPLATE: Final = "chat_template.jinja"
GENERATION: Final = "generation_config.json"


def layer(of: str, names: str, *changes: Change, weakens: bool = True) -> Defect:
    """Return a defect of weights, to be seen in a layer."""
    return Defect(of, weights("", *changes), "layer", names, weakens)


def config(names: str, file: str = "config.json", about: str = "file", **values: Any) -> Defect:
    """Return a defect of a file beside the weights."""
    return Defect("torchao-int8", setting(file, **values), about, names, weakens=False)


def file(names: str, spoil: Spoil, about: str = "file", of: str = "torchao-int8") -> Defect:
    """Return a defect that has no strength."""
    return Defect(of, spoil, about, names, weakens=False)


def written(name: str, change: Callable[[str], str]) -> Spoil:
    """Return what changes the text of a file."""

    def spoil(folder: Path, _strength: float) -> None:
        path = folder / name
        text = path.read_text(encoding="utf-8")
        path.unlink()
        path.write_text(change(text), encoding="utf-8")

    return spoil


def without(name: str) -> Spoil:
    """Return what leaves a file out."""
    return lambda folder, _strength: (folder / name).unlink()


def exchanged(rows: Any) -> Any:
    """Return rows of which the first two heads have changed places."""
    import torch

    return torch.cat([rows[HEAD : 2 * HEAD], rows[:HEAD], rows[2 * HEAD :]])


def _heads_swapped(held: Tensors) -> Tensors:
    names = [f"{QUERY}._weight_{part}" for part in ("qdata", "scale")]
    return {name: exchanged(held[name]) for name in names}


def of_an_earlier_revision(held: Tensors) -> Tensors:
    """Return all layers of 8 bits as they were some training steps before."""
    found: Tensors = {}
    for name in [key.removesuffix("._weight_qdata") for key in held if key.endswith("._weight_qdata")]:
        weight = held[f"{name}._weight_qdata"].float() * held[f"{name}._weight_scale"].float()
        codes, scale = requantized(noisy(0.3)(weight))
        found |= {f"{name}._weight_qdata": codes, f"{name}._weight_scale": scale}
    return found


def with_nan(absmax: Any) -> Any:
    """Return scales of which one is no number."""
    found = absmax.clone()
    found.view(-1)[3] = float("nan")
    return found


def _untied(folder: Path, _strength: float) -> None:
    """A head of its own that nobody trained."""
    with tensors(folder) as held:
        held["lm_head.weight"] = fresh(held[EMBEDDING])
    with document(folder / "config.json") as held:
        held["tie_word_embeddings"] = False


def _other_vocabulary(folder: Path, _strength: float) -> None:
    """The words of the tokenizer have each other's numbers; what is special keeps its own."""
    with document(folder / "tokenizer.json") as held:
        words = held["model"]["vocab"]
        special = {token["content"] for token in held["added_tokens"]}
        plain = [word for word in words if word not in special]
        numbers = reversed([words[word] for word in plain])
        held["model"]["vocab"] = words | dict(zip(plain, numbers, strict=True))


def _fewer_words(count: int) -> Spoil:
    """Return what leaves words out of the tokenizer, and every merge that makes one of them."""

    def spoil(folder: Path, _strength: float) -> None:
        with document(folder / "tokenizer.json") as held:
            model = held["model"]
            words = {word: number for word, number in model["vocab"].items() if number < count}
            pairs = [pair if isinstance(pair, list) else pair.split(" ") for pair in model["merges"]]
            model["vocab"], model["merges"] = words, [pair for pair in pairs if "".join(pair) in words]

    return spoil


def _begun_twice(folder: Path, _strength: float) -> None:
    """The tokenizer puts a first token before what the chat template has begun already."""
    with document(folder / "tokenizer.json") as held:
        first, own = {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
        held["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [first, own],
            "pair": [first, own, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}},
        }


def without_quantization_config(folder: Path, _strength: float) -> None:
    """Leave out what says how the weights are packed."""
    with document(folder / "config.json") as held:
        del held["quantization_config"]


def cut(folder: Path, _strength: float) -> None:
    """Leave half of the weights' file, as a download that ended early."""
    (path,) = folder.glob("*.safetensors")
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: len(content) // 2])


def zeroed(tensor: Any) -> Any:
    """Return nothing in its shape."""
    return tensor * 0


TEXT_DEFECTS: Final[dict[str, Defect]] = {
    # Weights
    "heads swapped": layer("torchao-int8", QUERY, _heads_swapped),
    "halves of the MLP swapped": layer("torchao-int8", f"{BLOCK}.mlp", swapped(GATE, UP)),
    "scale doubled": layer("torchao-int8", DOWN, one(f"{DOWN}._weight_scale", lambda scale: scale * 2)),
    "sign flipped": layer("torchao-int8", OUTPUT, one(f"{OUTPUT}._weight_qdata", lambda codes: -codes)),
    "layer never written": layer("torchao-int8", DOWN, one(f"{DOWN}._weight_qdata", zeroed)),
    "layer at 4 bits": layer("torchao-int8", UP, one(f"{UP}._weight_qdata", lambda codes: fewer_levels(codes, 4))),
    "all layers at 2 bits": layer(
        "torchao-int8", "model.layers", each("._weight_qdata", lambda codes: fewer_levels(codes, 2))
    ),
    "layers of an earlier revision": layer("torchao-int8", "model.layers", of_an_earlier_revision),
    "scales of another order": layer("bnb-nf4", QUERY, one(f"{QUERY}.weight.absmax", lambda scales: scales.flip(0))),
    "one block of NaN": layer("bnb-nf4", QUERY, one(f"{QUERY}.weight.absmax", with_nan), weakens=False),
    "norm of another block": layer(
        "bnb-nf4",
        f"{BLOCK}.input_layernorm",
        as_in(f"{BLOCK}.input_layernorm.weight", "model.layers.20.input_layernorm.weight"),
    ),
    "embedding rolled": layer("bnb-nf4", "embed_tokens", one(EMBEDDING, lambda rows: rows.roll(1, 0))),
    "embedding cut short": layer(
        "bnb-nf4", "embed_tokens", one(EMBEDDING, lambda rows: rows * (rows.new_ones(len(rows), 1).cumsum(0) < 40_000))
    ),
    "embedding untied": file("tie_word_embeddings", _untied),
    # Config
    "rotary embedding of another model": config(
        "rope_parameters", rope_parameters={"rope_theta": 10_000.0, "rope_type": "default"}
    ),
    "wrong epsilon": config("rms_norm_eps", rms_norm_eps=1e-2),
    "wrong activation": config("hidden_act", hidden_act="gelu"),
    "heads of half the size": config("head_dim", head_dim=32, num_attention_heads=18, num_key_value_heads=6),
    "wrong heads of keys": config("", about="load", num_key_value_heads=9),
    "block skipped": config("num_hidden_layers", num_hidden_layers=29),
    "cache lost": config("use_cache", use_cache=False),
    "few places": config("max_position_embeddings", max_position_embeddings=256),
    # Tokenizer and chat template
    "tokenizer of another model": file("vocabulary", _other_vocabulary),
    "tokenizer cut a little": file("vocabulary", _fewer_words(45_000)),
    "tokenizer cut short": file("it is another model's", _fewer_words(30_000), "load"),
    "tokenizer missing": file("", without("tokenizer.json"), "load"),
    "begun twice": file("post_processor", _begun_twice),
    "system prompt lost": file(
        "chat_template", written(TEMPLATE, lambda text: text.replace("messages[0]['role'] != 'system'", "false"))
    ),
    "roles swapped": file(
        "chat_template",
        written(
            TEMPLATE,
            lambda text: text.replace(
                "message['role'] +", "{'user': 'assistant', 'assistant': 'user'}.get(message['role'], 'system') +"
            ),
        ),
    ),
    "chat template without the turn of the model": file(
        "chat_template", written(TEMPLATE, lambda text: text.replace("if add_generation_prompt", "if false"))
    ),
    "chat template that does not render": file(
        "The chat template does not render", written(TEMPLATE, lambda text: text + "{{ messages.last.role }}"), "load"
    ),
    "chat template missing": file("no chat template", without(TEMPLATE), "load"),
    # How it is continued
    "penalty of repetition": config("repetition_penalty", GENERATION, repetition_penalty=1.3),
    "sampled": config("do_sample", GENERATION, do_sample=True, temperature=1.5),
    "end lost": config("eos_token_id", GENERATION, eos_token_id=None),
    # What does not load, or with random values for the weights that are not there
    "quantization_config missing": file("is not now", without_quantization_config, "layer"),
    "file cut": file("", cut, "load"),
    # The reference itself
    "reference that says nothing": Defect(
        "source", weights("", one("model.norm.weight", zeroed)), "source", "empty", weakens=False
    ),
    "reference that ignores its question": Defect(
        "source", weights("", each("self_attn.o_proj.weight", zeroed)), "source", "same answer", weakens=False
    ),
}
