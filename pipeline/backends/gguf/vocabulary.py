"""A tokenizer as the header of a GGUF tells it, made of the files that the tokenizers library reads.

llama.cpp cuts texts by itself: it knows byte-level BPE by what splits a text into words, sentencepiece's BPE by a score
of each token, and the unigrams of T5. What its header cannot tell is refused, since texts would come apart otherwise
than they did for the source.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from string import ascii_letters, digits
from typing import Any, Final, TypeVar

from pipeline.backends.gguf.given import (
    TOKENIZER,
    Ending,
    Given,
    Merged,
    Settings,
    SpecialTokens,
    Step,
    Tokenizer,
    Unigrams,
    read_as,
)
from pipeline.errors import RecipeError, SourceError
from pipeline.source.strict import WHOLE, parse

Read = Callable[[str], bytes | None]
"""Returns a file of a tokenizer by its name; None where there is none."""

Object = TypeVar("Object", bound=Given)

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # kinds of tokens, as llama.cpp numbers them
OTHERWISE: Final = "Choose another backend for this component."
SETTINGS: Final = "tokenizer_config.json"
SPECIAL_TOKENS: Final = "special_tokens_map.json"
GENERATION: Final = "generation_config.json"
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
    (("Metaspace", (SPACE, "always", False)),): True,
    (("Metaspace", (SPACE, "first", False)),): True,
    (("Metaspace", (SPACE, "never", False)),): False,
}
TABLE: Final = ("Precompiled", None)  # of what becomes of each character
SPLIT: Final = ("Metaspace", (SPACE, "always", True))
WORDWISE: Final = frozenset(  # what T5's tokenizers do, of any age
    [
        (TABLE, ("WhitespaceSplit", None), SPLIT),
        (TABLE, ("Strip", (False, True)), ("Replace", (" {2,}", SPACE)), SPLIT),
        (TABLE, ("Strip", (False, True)), ("Replace", (" {2,}", " ")), SPLIT),
        (TABLE, ("Replace", (" {2,}", " ")), SPLIT),  # which keeps a space at the end, as sentencepiece does not
        (("Strip", (False, True)), ("Replace", (" {2,}", SPACE)), SPLIT),
    ]
)


def keys(read: Read, size: int, ending: Ending | None = None) -> dict[str, Any]:
    """Return what a header says of a tokenizer.

    Args:
        read: Reads its files.
        size: How many tokens the model has, of which some may never come from a text.
        ending: What ends a text as the model's config says; None for a model that continues none.

    Raises:
        RecipeError: A header cannot tell it.
        SourceError: A file of it is not readable.
    """
    if read(TOKENIZER) is None:
        written = "which AutoTokenizer.from_pretrained and save_pretrained write"
        remedy = f"Add its {TOKENIZER}, {written}, or {OTHERWISE.lower()}"
        raise RecipeError(f"A GGUF holds the tokenizer, and there is no {TOKENIZER} to take it from.", remedy=remedy)
    made, settings = read_object(Tokenizer, read, TOKENIZER), read_object(Settings, read, SETTINGS)
    told = {"BPE": merged, "Unigram": unigram}.get(made.kind, refused)(made)
    tokens, kinds = every(made, told.pop("tokens"), size)
    if "scores" in told:
        told["scores"] += [0.0] * (size - len(told["scores"]))
    first, last = added_around(made)
    ids = {key: number for key, number in special(read, settings, tokens).items() if number is not None}
    if ending and "eos_token_id" not in ids:
        ids["eos_token_id"] = ends(read_object(Ending, read, GENERATION), ending, size)
    if first not in {None, ids.get("bos_token_id")} or last not in {None, ids.get("eos_token_id")}:
        raise refusal("adds to a text other tokens than one that begins and one that ends it")
    found = {
        "model": told.pop("model"),
        **({"pre": told.pop("pre")} if "pre" in told else {}),
        "tokens": tokens,
        "token_type": kinds,
        **told,
        **ids,
        "add_bos_token": first is not None,
        "add_eos_token": last is not None,
    }
    return {f"tokenizer.ggml.{key}": value for key, value in found.items()} | templates(read, settings)


def read_object(kind: type[Object], read: Read, name: str) -> Object:
    """Return what is read of a file; what it is without any where there is none.

    Raises:
        SourceError: It is no such JSON.
    """
    try:
        return read_as(kind, parse(read(name) or b"{}"), name)
    except ValueError as error:
        raise SourceError(f"{name} is no JSON ({error}).", remedy=WHOLE) from error


def special(read: Read, settings: Settings, tokens: Sequence[str]) -> dict[str, int | None]:
    """Return the numbers of the tokens that settings name.

    A ``special_tokens_map.json`` counts more than the settings where they do not list the added tokens, as transformers
    has it.
    """
    known: list[SpecialTokens] = [settings]
    if settings.added_tokens_decoder is None:
        known = [read_object(SpecialTokens, read, SPECIAL_TOKENS), settings]
    by_token = {token: number for number, token in enumerate(tokens)}
    named = {key: next(filter(None, (one.text_of(name) for one in known)), None) for name, key in SPECIAL.items()}
    return {key: by_token.get(token or "") for key, token in named.items()}


def ends(generation: Ending, config: Ending, size: int) -> int:
    """Return the token that ends a text, which no setting names; of several the first.

    Raises:
        RecipeError: There is none.
        SourceError: The model has no such token.
    """
    said = config.eos_token_id if generation.eos_token_id is None else generation.eos_token_id
    number = next(iter(said), None) if isinstance(said, list) else said
    if number is None:
        raise refusal(f"names no token that ends a text, in {SETTINGS}, {SPECIAL_TOKENS} or {GENERATION}")
    if number >= size:
        raise SourceError(f"Token {number} ends a text, and the model has only {size} of them.", remedy=WHOLE)
    return number


def templates(read: Read, settings: Settings) -> dict[str, Any]:
    """Return what a header says of chat templates: one, and of several each by its name."""
    alone = read(TEMPLATE)
    if alone is not None:
        return {"tokenizer.chat_template": alone.decode(errors="replace")}
    if isinstance(settings.chat_template, str):
        return {"tokenizer.chat_template": settings.chat_template}
    found, names = dict[str, Any](), []
    for one in settings.chat_template or ():
        if one.name == "default":
            found["tokenizer.chat_template"] = one.template
        else:
            names.append("".join(letter if letter in ascii_letters + digits else "_" for letter in one.name))
            found[f"tokenizer.chat_template.{names[-1]}"] = one.template
    return found | ({"tokenizer.chat_templates": names} if names else {})


def merged(made: Tokenizer) -> dict[str, Any]:
    """Return what is told of a vocabulary that was merged: of bytes, or of characters with bytes for what lacks.

    Raises:
        RecipeError: It cannot be told.
        SourceError: It is not readable.
    """
    held = read_as(Merged, made.model, f"{TOKENIZER}'s model")
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if said := getattr(held, name):
            raise refusal(f"says {name} {said!r}")
    if other := next((token for token in made.added_tokens if token.lstrip or token.rstrip or token.single_word), None):
        raise refusal(f"finds {other.content!r} by what stands around it (lstrip, rstrip or single_word)")
    return (by_scores if held.byte_fallback else byte_level)(made, held)


def byte_level(made: Tokenizer, held: Merged) -> dict[str, Any]:
    """Return what is told of a vocabulary of bytes that were merged."""
    split = telling(made.pre_tokenizer)
    before = next((name for name, known in SPLITS.items() if known == (split, held.ignore_merges)), "")
    if not before:
        whole = " with words that need no merge" if held.ignore_merges else ""
        raise unsplit(split, whole)
    steps = telling(made.normalizer)
    if steps not in {(), (("NFC", None),)} or (steps and before != "qwen2"):  # which llama.cpp leaves out, of Qwen too
        raise refusal(f"changes texts before it splits them ({kinds_of(steps)})")
    return {"model": "gpt2", "pre": before, "tokens": held.vocab, "merges": [" ".join(pair) for pair in held.pairs]}


def by_scores(made: Tokenizer, held: Merged) -> dict[str, Any]:
    """Return what is told of sentencepiece's vocabulary: merged are the neighbours whose token has the best score.

    Where a text begins with a space or goes on behind a token of its own, llama.cpp puts a space before it as
    sentencepiece does, and a ``Metaspace`` of the tokenizers library puts none.
    """
    steps = (*telling(made.normalizer), *telling(made.pre_tokenizer))
    if steps not in SPACED:
        raise unsplit(steps)
    if any(name not in held.vocab for name in BYTES):
        raise refusal("lacks tokens of single bytes, of which what is in no other is made")
    return {
        "model": "llama",
        "pre": "default",
        "tokens": held.vocab,
        "scores": scores_of(held.vocab, held.pairs, {token.content for token in made.added_tokens}),
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


def telling(step: Step | None) -> tuple[tuple[str, Any], ...]:
    """Return what a tokenizer does with texts before it merges: the kind of each step, and what makes it that one."""
    return tuple((one.type, one.telling) for one in (step.steps if step else ()))


def unigram(made: Tokenizer) -> dict[str, Any]:
    """Return what is told of T5's vocabulary, of words with their scores.

    llama.cpp drops spaces around a token that is found first as around a text, whether the token says so or not. What
    is in no word is an unknown token there, where some tokenizers fall back on single bytes.

    Raises:
        RecipeError: It cannot be told.
        SourceError: It is not readable.
    """
    held = read_as(Unigrams, made.model, f"{TOKENIZER}'s model")
    steps = (*telling(made.normalizer), *telling(made.pre_tokenizer))
    if steps not in WORDWISE:
        raise unsplit(steps)
    if other := next((token.content for token in made.added_tokens if token.single_word), ""):
        raise refusal(f"finds {other!r} by what stands around it (single_word)")
    if (unknown := held.unk_id or 0) >= len(held.vocab):
        raise SourceError(
            f"{TOKENIZER} has token {unknown} for what it does not know, and no such token.", remedy=WHOLE
        )
    said = next((step.precompiled_charsmap for step in made.normalizer.steps), "") if made.normalizer else ""
    try:
        table = b64decode(said, validate=True)
    except ValueError as error:
        raise SourceError(f"{TOKENIZER} has a table of characters that is no base64.", remedy=WHOLE) from error
    return {
        "model": "t5",
        "pre": "default",
        "tokens": {token: number for number, (token, _) in enumerate(held.vocab)},
        "scores": [score for _, score in held.vocab],
        "add_space_prefix": True,
        "remove_extra_whitespaces": True,
        **({"precompiled_charsmap": table} if table else {}),
        "unknown_token_id": unknown,
    }


def refused(made: Tokenizer) -> dict[str, Any]:
    """Refuse a vocabulary of another kind.

    Raises:
        RecipeError: Always.
    """
    raise refusal(f"is of the kind {made.kind or None}, and BPE and Unigram can be told")


def every(made: Tokenizer, vocabulary: Mapping[str, int], size: int) -> tuple[list[str], list[int]]:
    """Return all tokens in their order with the kind of each; those that no text has are called after their number."""
    added = {token.content: token for token in made.added_tokens}
    numbers = {**vocabulary, **{content: token.id for content, token in added.items()}}
    if (most := max(numbers.values(), default=0)) >= size:
        raise refusal(f"has a token {most}, and the model only {size} of them")
    known = {number: token for token, number in numbers.items()}
    tokens = [known[number] if number in known else free(f"[PAD{number}]", numbers) for number in range(size)]
    kinds = [NORMAL if number in known else UNUSED for number in range(size)]
    if made.model.get("byte_fallback"):
        for token in BYTES & numbers.keys():
            kinds[numbers[token]] = BYTE
    if made.kind == "Unigram" and (unknown := made.model.get("unk_id")) is not None:
        kinds[unknown] = UNKNOWN
    for one in added.values():
        kinds[one.id] = CONTROL if one.special else USER_DEFINED
    return tokens, kinds


def free(name: str, taken: Collection[str]) -> str:
    """Return a name that no token has: llama.cpp wants each to have its own."""
    while name in taken:
        name = f"[{name}]"
    return name


def added_around(made: Tokenizer) -> tuple[int | None, int | None]:
    """Return the tokens that are put before and behind a text."""
    around: list[list[int]] = [[], []]
    for one in made.post_processor.steps if made.post_processor else ():
        if one.type == "TemplateProcessing":
            behind = 0
            for part in one.single:
                if part.SpecialToken is None:
                    behind = 1
                elif part.SpecialToken.id in one.special_tokens:
                    around[behind] += one.special_tokens[part.SpecialToken.id].ids
                else:
                    raise SourceError(
                        f"{TOKENIZER} adds {part.SpecialToken.id!r}, and has no number for it.", remedy=WHOLE
                    )
        elif one.type != "ByteLevel":
            raise refusal(f"finishes texts by {one.type}")
    if any(len(found) > 1 for found in around):
        raise refusal("adds to a text other tokens than one that begins and one that ends it")
    return tuple(found[0] if found else None for found in around)  # type: ignore[return-value]


def unsplit(steps: Iterable[tuple[str, Any]], further: str = "") -> RecipeError:
    """Return the error for steps that llama.cpp has no name of."""
    return refusal(f"splits texts in a way that no name of llama.cpp is known for ({kinds_of(steps)}){further}")


def kinds_of(steps: Iterable[tuple[str, Any]]) -> str:
    """Return the kinds of steps, as an error names them."""
    return ", ".join(name for name, _ in steps) or "None"


def refusal(what: str) -> RecipeError:
    """Return the error for a tokenizer that a header cannot tell."""
    return RecipeError(f"A GGUF cannot tell this tokenizer: it {what}.", remedy=OTHERWISE)
