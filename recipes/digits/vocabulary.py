"""The two tokenizers, built from the words of the captions: nothing is downloaded."""

import string

from scans import COLOURS, DIGITS, SLANTS, WEIGHTS
from transformers import CLIPTokenizer, T5Tokenizer

WORDS = ("a", *WEIGHTS, *SLANTS, *COLOURS, *DIGITS)
CLIP_LENGTH = 16
T5_LENGTH = 8
"""Tokens of a caption, padding included. A caption has seven and six; T5's padding costs the transformer time."""


def clip_tokenizer() -> CLIPTokenizer:
    """Byte pair encoding that makes one token of each caption word and spells any other word by its letters.

    The unknown token is its own: were it the end of text, as CLIP has it, text would end at the first unknown sign.
    """
    # Longest words first: a short word's merges, were they tried before, would split a long one.
    words = sorted(WORDS, key=len, reverse=True)
    merges = list(dict.fromkeys(merge for word in words for merge in _merges(word)))
    letters = [letter + end for end in ("", "</w>") for letter in string.ascii_lowercase]
    # transformers takes an end of text numbered 2 for a broken old config and pools elsewhere: here it is 3.
    roles = ("pad_token", "bos_token", "unk_token", "eos_token")
    specials = dict(zip(roles, ("<|pad|>", "<|startoftext|>", "<|unknown|>", "<|endoftext|>"), strict=True))
    pieces = ["".join(pair) for pair in merges]
    vocabulary = {token: index for index, token in enumerate([*specials.values(), *letters, *dict.fromkeys(pieces)])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=CLIP_LENGTH, **specials)


def _merges(word: str) -> list[tuple[str, str]]:
    """The merges that build `word` from its letters, left to right, its last letter carrying the end mark."""
    parts = [*word[:-1], word[-1] + "</w>"]
    return [("".join(parts[:index]), parts[index]) for index in range(1, len(parts))]


def t5_tokenizer() -> T5Tokenizer:
    """A unigram model with one piece a caption word; letters, dear enough to lose against words, spell the rest."""
    specials = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    words = [(f"▁{word}", -2.0) for word in WORDS if len(word) > 1]
    letters = [(start + letter, -10.0) for start in ("▁", "") for letter in string.ascii_lowercase]
    return T5Tokenizer(vocab=[*specials, ("▁", -10.0), *words, *letters], extra_ids=0, model_max_length=T5_LENGTH)
