"""What a language model expects at each place of a text: how it is kept, and how far two of them are apart.

Names and definitions are those of llama.cpp's ``llama-perplexity --kl-divergence``
(https://github.com/ggml-org/llama.cpp/tree/master/tools/perplexity), which compares over the tokens of a text as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import inf
from pathlib import Path
from typing import Any, Final, Literal

from pipeline.tasks.metrics import (
    Measured,
    MetricInput,
    Pair,
    PairMetric,
    Parts,
    PooledMetric,
    Reading,
    greatest_distance,
)
from pipeline.tasks.texts.text import EXPECTED, SAID, Text

LEAST: Final = -65504.0  # what float16 holds: a token that a model rules out counts as that
ROWS: Final = 16  # places that are compared at once: a few MB, whatever the text


@dataclass(frozen=True)
class Apart:
    """What two models expect at the same places.

    Attributes:
        divergence: Of the candidate from the source, in nats, shape (places,).
        same_top: Whether both expect the same token most, shape (places,).
    """

    divergence: Any
    same_top: Any


def kept(logits: Any) -> Any:
    """Return logits, a tensor of shape (places, vocabulary), as log probabilities in float16.

    A number is off by 1/2048 of itself at most, and by less the likelier its token is: what that does to a divergence
    is at most 1/1024 of the entropy at its place, with a sign of chance.
    """
    import torch

    rows = (torch.log_softmax(piece.float(), -1).clamp(min=LEAST).half() for piece in logits.split(ROWS))
    return torch.cat(list(rows)).cpu().numpy()


def apart(pair: Pair) -> Apart:
    """Return how far a pair of answers is apart, which several metrics ask."""
    own, other = pair.besides[EXPECTED]
    return _apart(own, other, own.stat().st_mtime_ns, other.stat().st_mtime_ns)


@lru_cache(maxsize=1024)
def _apart(own: Path, other: Path, *_written: int) -> Apart:
    import numpy as np

    sides = _shared(*(np.load(path, mmap_mode="r", allow_pickle=False) for path in (own, other)))
    width = max(side.shape[1] for side in sides)
    found = [_compared(*(_wide(side[at : at + ROWS], width) for side in sides)) for at in range(0, len(sides[0]), ROWS)]
    divergence, same = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Apart(divergence, same)


def _shared(own: Any, other: Any) -> tuple[Any, Any]:
    """Return both at the places that both have; that one has others is a fault, of which the report tells."""
    places = min(len(own), len(other))
    return own[:places], other[:places]


def _wide(rows: Any, width: int) -> Any:
    """Return places with a vocabulary of some width: a token that a model does not have it rules out."""
    import numpy as np

    return np.pad(rows, ((0, 0), (0, width - rows.shape[1])), constant_values=LEAST)


def _compared(own: Any, other: Any) -> tuple[Any, Any]:
    """Return divergence and agreement at a few places; rounded probabilities are brought back to a sum of 1."""
    import numpy as np

    first, second = (_whole(side.astype(np.float64)) for side in (own, other))
    divergence = np.where(first > LEAST / 2, np.exp(first) * (first - second), 0.0).sum(-1)
    return np.maximum(divergence, 0.0), (own.argmax(-1) == other.argmax(-1)).astype(np.float64)


def _whole(rows: Any) -> Any:
    import numpy as np

    most = rows.max(-1, keepdims=True)
    return rows - most - np.log(np.exp(rows - most).sum(-1, keepdims=True))


def said(pair: Pair) -> tuple[Any, Any]:
    """Return the log probability of each token of a question, by the source and by the candidate."""
    import numpy as np

    own, other = (np.load(path, allow_pickle=False).astype(np.float64) for path in pair.besides[SAID])
    return _shared(own, other)


def lacks(given: MetricInput) -> str:
    """Return what is missing to compare distributions."""
    return "" if all(EXPECTED in pair.besides for pair in given.pairs) else "what both sides expected at each token"


@dataclass(frozen=True)
class DivergenceQuantile:
    """A quantile of the divergence over all tokens of all questions, as it is in this sample.

    Attributes:
        quantile: Which.
        unit: Nats.
        direction: Less is better.
        span: It is no share.
        ends: It has no greatest value.
        tail: It is no mean.
    """

    quantile: float
    unit: str = "nats"
    direction: Literal["higher", "lower"] = "lower"
    span: None = None
    ends: tuple[float, float] = (0.0, inf)
    tail: None = None

    def lacks(self, given: MetricInput) -> str:
        """It needs what the divergence needs."""
        return lacks(given)

    def measure(self, given: MetricInput) -> Measured:
        """Take the quantile, between two values in proportion."""
        import numpy as np

        every = np.concatenate([apart(pair).divergence for pair in given.pairs])
        return Measured(float(np.quantile(every, self.quantile)))


def _equal(given: MetricInput) -> list[Reading]:
    """Whether all tokens are the same; words are compared where a page tells no tokens."""
    return [Reading(float(_same(pair.reference, pair.candidate))) for pair in given.pairs]


def _same(own: Text, other: Text) -> bool:
    return own.tokens == other.tokens if other.tokens else own.text == other.text


def _perplexity(pair: Pair) -> Parts:
    own, other = said(pair)
    return Parts(-other, -own)


def _perplexity_ratio(pair: Pair) -> Parts:
    own, other = said(pair)
    return Parts(own - other)


KL_DIVERGENCE: Final = PooledMetric(
    "nats", "lower", lambda pair: Parts(apart(pair).divergence), lacks, ends=(0.0, inf), tail=greatest_distance
)
MEDIAN: Final = DivergenceQuantile(0.5)
HIGHEST: Final = DivergenceQuantile(0.999)
PERPLEXITY: Final = PooledMetric("", "lower", _perplexity, lacks, geometric=True, ends=(1.0, inf))
PERPLEXITY_RATIO: Final = PooledMetric("", "lower", _perplexity_ratio, lacks, geometric=True, ends=(0.0, inf))
SAME_TOP: Final = PooledMetric("", "higher", lambda pair: Parts(apart(pair).same_top), lacks, ends=(0.0, 1.0))
ANSWERS_EQUAL: Final = PairMetric("", "higher", _equal, span=(0.0, 1.0), ends=(0.0, 1.0))
