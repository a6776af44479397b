"""A tokenizer as the header of a GGUF tells it, made of the files that the tokenizers library reads.

llama.cpp cuts texts by itself: it knows byte-level BPE by what splits a text into words, sentencepiece's BPE by a score
of each token, and the unigrams of T5. What its header cannot tell is refused, since texts would come apart otherwise
than they did for the source.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from pipeline.errors import RecipeError, SourceError
from pipeline.source.strict import parse

Read = Callable[[str], bytes | None]
"""Returns a file of a tokenizer by its name; None where there is none."""

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # kinds of tokens, as llama.cpp numbers them
OTHERWISE: Final = "Choose another backend for this component."
MODEL: Final = "tokenizer.json"
SETTINGS: Final = "tokenizer_config.json"
TEMPLATE: Final = "chat_template.jinja"
SPECIAL: Final = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "pad_token": "padding_token_id",
}
WORDS: Final = (  # by which Llama 3 and Qwen split a text; they differ in how many digits stay together
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CASES: Final = (  # by which Mistral's later models split one: where small letters end as well
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPLITS: Final = {  # by llama.cpp's name: what splits a text, and whether a word that is a token needs no merge
    "gpt-2": ((("ByteLevel", True),), False),
    "smollm": ((("Digits", True), ("ByteLevel", True)), False),
    "llama-bpe": ((("Split", WORDS.format(digits="{1,3}")), ("ByteLevel", False)), True),
    "dbrx": ((("Split", WORDS.format(digits="{1,3}")), ("ByteLevel", False)), False),
    "qwen2": ((("Split", WORDS.format(digits="")), ("ByteLevel", False)), False),
    "tekken": ((("Split", CASES), ("ByteLevel", False)), True),
}
SPACE: Final = "\u2581"  # which sentencepiece writes for a space
BYTES: Final = frozenset(f"<0x{byte:02X}>" for byte in range(256))
SPACED: Final = {  # whether a text gets a space before it, by what sentencepiece's tokenizers do before they merge
    (("Prepend", SPACE), ("Replace", (" ", SPACE))): True,
    (("Replace", (" ", SPACE)),): False,
    (("Metaspace", (SPACE, "always")),): True,
    (("Metaspace", (SPACE, "first")),): True,
    (("Metaspace", (SPACE, "never")),): False,
}


def keys(read: Read, size: int) -> dict[str, Any]:
    """Return what a header says of a tokenizer.

    Args:
        read: Reads its files.
        size: How many tokens the model has, of which some may never come from a text.

    Raises:
        RecipeError: A header cannot tell it.
        SourceError: A file of it is no JSON object.
    """
    model, settings = read_object(read, MODEL), read_object(read, SETTINGS)
    if not model:
        remedy = (
            f"Add its {MODEL}, which AutoTokenizer.from_pretrained and save_pretrained write, or {OTHERWISE.lower()}"
        )
        raise RecipeError(f"A GGUF holds the tokenizer, and there is no {MODEL} to take it from.", remedy=remedy)
    kind = model.get("model", {}).get("type")
    told = {"BPE": merged, "Unigram": unigram}.get(str(kind), refused)(model)
    tokens, kinds = every(model, told.pop("tokens"), size)
    if "scores" in told:
        told["scores"] += [0.0] * (size - len(told["scores"]))
    first, last = added_around(model)
    by_token = {token: number for number, token in enumerate(tokens)}
    ids = {key: by_token.get(content(settings.get(name))) for name, key in SPECIAL.items()}
    if first not in {None, ids["bos_token_id"]} or last not in {None, ids["eos_token_id"]}:
        raise refusal("adds to a text other tokens than one that begins and one that ends it")
    template = read(TEMPLATE)
    chat = template.decode(errors="replace") if template else settings.get("chat_template")
    found = {
        "model": told.pop("model"),
        **({"pre": told.pop("pre")} if "pre" in told else {}),
        "tokens": tokens,
        "token_type": kinds,
        **told,
        **{key: number for key, number in ids.items() if number is not None},
        "add_bos_token": first is not None,
        "add_eos_token": last is not None,
    }
    return {f"tokenizer.ggml.{key}": value for key, value in found.items()} | (
        {"tokenizer.chat_template": chat} if isinstance(chat, str) else {}
    )


def read_object(read: Read, name: str) -> dict[str, Any]:
    """Return a JSON object; an empty one where there is no such file.

    Raises:
        SourceError: It is none.
    """
    try:
        found = parse(read(name) or b"{}")
    except ValueError as error:
        raise SourceError(f"{name} is no JSON ({error}).") from error
    if not isinstance(found, dict):
        raise SourceError(f"{name} is no JSON object.")
    return found


def merged(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is told of a vocabulary that was merged: of bytes, or of characters with bytes for what lacks."""
    return (by_scores if model["model"].get("byte_fallback") else byte_level)(model)


def byte_level(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is told of a vocabulary of bytes that were merged."""
    held, split = model["model"], steps_of(model.get("pre_tokenizer"))
    before = next((name for name, known in SPLITS.items() if known == (split, bool(held.get("ignore_merges")))), "")
    if not before:
        raise unsplit(split)
    if (model.get("normalizer") or {}).get("type", "NFC") != "NFC":  # which llama.cpp leaves out, of Qwen as well
        raise refusal("changes texts before it splits them")
    merges = [" ".join(merge) for merge in pairs_of(held)]
    return {"model": "gpt2", "pre": before, "tokens": dict(held["vocab"]), "merges": merges}


def by_scores(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is told of sentencepiece's vocabulary: merged are the neighbours whose token has the best score.

    Where a text begins with a space or goes on behind a token of its own, llama.cpp puts a space before it as
    sentencepiece does, and a ``Metaspace`` of the tokenizers library puts none.
    """
    held = model["model"]
    steps = (*steps_of(model.get("normalizer")), *steps_of(model.get("pre_tokenizer")))
    if steps not in SPACED:
        raise unsplit(steps)
    vocabulary = held["vocab"]
    if any(name not in vocabulary for name in BYTES):
        raise refusal("lacks tokens of single bytes, of which what is in no other is made")
    return {
        "model": "llama",
        "pre": "default",
        "tokens": dict(vocabulary),
        "scores": scores_of(
            vocabulary, pairs_of(held), {entry["content"] for entry in model.get("added_tokens") or ()}
        ),
        "add_space_prefix": SPACED[steps],
    }


def scores_of(vocabulary: Mapping[str, int], merges: Sequence[Sequence[str]], added: Collection[str]) -> list[float]:
    """Return the score of each token, which falls with each merge that makes another one.

    Args:
        vocabulary: The numbers of tokens.
        merges: Which neighbours are merged, the best first.
        added: Tokens that are found before any is merged.

    Raises:
        RecipeError: Neighbours are merged by more than what comes of them.
    """
    ranks: dict[str, int] = {}
    for left, right in merges:
        if (token := left + right) != next(reversed(ranks), ""):
            if token in ranks:
                raise refusal("merges neighbours in an order that scores of tokens do not tell")
            ranks[token] = len(ranks) + 1
    known = {(left, right) for left, right in merges}
    for token in vocabulary.keys() - added:
        for place in range(1, len(token)):
            pair = token[:place], token[place:]
            if pair not in known and pair[0] in vocabulary and pair[1] in vocabulary:
                raise refusal(
                    f"does not merge {pair[0]!r} and {pair[1]!r}, which llama.cpp does, since {token!r} is a token"
                )
    scores = [0.0] * (max(vocabulary.values()) + 1)
    for token, rank in ranks.items():
        scores[vocabulary[token]] = -float(rank)
    return scores


def pairs_of(held: Mapping[str, Any]) -> list[list[str]]:
    """Return the neighbours that are merged, of which some files write both into one text."""
    return [merge.split(" ") if isinstance(merge, str) else merge for merge in held["merges"]]


def steps_of(step: Any) -> tuple[tuple[str, Any], ...]:
    """Return what a tokenizer does with texts before it merges: the kind of each step, and what makes it that one."""
    if not isinstance(step, dict):
        return ()
    kind, pattern = str(step.get("type")), step.get("pattern") or {}
    if kind == "Sequence":
        inner = step.get("pretokenizers") or step.get("normalizers") or ()
        return tuple(found for one in inner for found in steps_of(one))
    telling = {
        "ByteLevel": not step.get("add_prefix_space") and step.get("use_regex", True),
        "Digits": step.get("individual_digits"),
        "Split": pattern.get("Regex") if step.get("behavior") == "Isolated" else None,
        "Prepend": step.get("prepend"),
        "Replace": (pattern.get("String"), step.get("content")),
        "Metaspace": (step.get("replacement"), step.get("prepend_scheme")) if step.get("split") is False else None,
    }
    return ((kind, telling.get(kind)),)


def unigram(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is told of T5's vocabulary, of words with their scores."""
    held = model["model"]
    return {
        "model": "t5",
        "pre": "default",
        "tokens": {token: number for number, (token, _) in enumerate(held["vocab"])},
        "scores": [float(score) for _, score in held["vocab"]],
        "add_space_prefix": True,
        "remove_extra_whitespaces": True,
        "unknown_token_id": held.get("unk_id") or 0,
    }


def refused(model: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse a vocabulary of another kind.

    Raises:
        RecipeError: Always.
    """
    raise refusal(f"is of the kind {model.get('model', {}).get('type')}, and BPE and Unigram can be told")


def every(model: Mapping[str, Any], vocabulary: Mapping[str, int], size: int) -> tuple[list[str], list[int]]:
    """Return all tokens in their order with the kind of each; those that no text has are called after their number."""
    tokens = [f"[PAD{number}]" for number in range(size)]
    kinds = [UNUSED] * size
    added = {entry["content"]: entry for entry in model.get("added_tokens") or ()}
    numbers = {**vocabulary, **{token: entry["id"] for token, entry in added.items()}}
    if (most := max(numbers.values(), default=0)) >= size:
        raise refusal(f"has a token {most}, and the model only {size} of them")
    unknown = model["model"].get("unk_id") if model["model"].get("type") == "Unigram" else None
    bytes_too = BYTES if model["model"].get("byte_fallback") else ()
    for token, number in numbers.items():
        tokens[number] = token
        kinds[number] = UNKNOWN if number == unknown else BYTE if token in bytes_too else NORMAL
        if token in added:
            kinds[number] = CONTROL if added[token].get("special") else USER_DEFINED
    return tokens, kinds


def added_around(model: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Return the tokens that are put before and behind a text."""
    step = model.get("post_processor") or {}
    steps = step.get("processors", []) if step.get("type") == "Sequence" else [step]
    around: list[list[int]] = [[], []]
    for one in steps:
        if one.get("type") == "TemplateProcessing":
            behind = 0
            for part in one["single"]:
                if "Sequence" in part:
                    behind = 1
                else:
                    around[behind] += one["special_tokens"][part["SpecialToken"]["id"]]["ids"]
        elif one.get("type", "ByteLevel") != "ByteLevel":
            raise refusal(f"finishes texts by {one['type']}")
    if any(len(found) > 1 for found in around):
        raise refusal("adds to a text other tokens than one that begins and one that ends it")
    return tuple(found[0] if found else None for found in around)  # type: ignore[return-value]


def unsplit(steps: Iterable[tuple[str, Any]]) -> RecipeError:
    """Return the error for steps that llama.cpp has no name of."""
    named = ", ".join(name for name, _ in steps) or None
    return refusal(f"splits texts in a way that no name of llama.cpp is known for ({named})")


def content(token: Any) -> Any:
    """Return the text of a token of the settings, which may be an object around it."""
    return token.get("content") if isinstance(token, dict) else token


def refusal(what: str) -> RecipeError:
    """Return the error for a tokenizer that a header cannot tell."""
    return RecipeError(f"A GGUF cannot tell this tokenizer: it {what}.", remedy=OTHERWISE)
