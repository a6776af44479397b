"""The recipes that the gate is tried on, each with what of it is honest and which defects are planted in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.gate.defects import DEFECTS, Defect
from tests.gate.honest import DIGITS, RECIPES, TWO_BITS
from tests.gate.speech_defects import SPEECH_DEFECTS
from tests.gate.text_defects import TEXT_DEFECTS


@dataclass(frozen=True)
class Subject:
    """A recipe.

    Attributes:
        recipe: Its folder.
        honest: Its targets that must not fail.
        many: Those of them that are judged many times.
        defects: What is planted, by name.
        more: Further targets, to plant defects in.
        first: Prompts, by their place, without which a sample cannot be judged.
    """

    recipe: Path
    honest: tuple[str, ...]
    many: tuple[str, ...]
    defects: Mapping[str, Defect]
    more: Mapping[str, Any] = field(default_factory=dict)
    first: tuple[int, ...] = ()


SUBJECTS: Final[dict[str, Subject]] = {
    "digits": Subject(
        DIGITS,
        ("bnb-nf4", "bnb-int8", "torchao-int8", "torchao-float8", "quanto-int8", "quanto-int4"),
        ("bnb-nf4", "bnb-int8"),
        DEFECTS,
        TWO_BITS,
    ),
    "smollm2": Subject(
        RECIPES / "smollm2",
        ("torchao-int8", "bnb-nf4", "bnb-int8"),
        ("bnb-nf4", "torchao-int8"),
        TEXT_DEFECTS,
    ),
    "speech": Subject(
        RECIPES / "speech",
        ("torchao-int8", "bnb-nf4"),
        ("torchao-int8", "bnb-nf4"),
        SPEECH_DEFECTS,
        {
            "bnb-nf4": {"model": {"backend": "bitsandbytes", "scheme": "nf4", "dtype": "bfloat16"}}
        },  # one source for both
        first=(23, 26),  # silence, and more than is heard at once
    ),
}
