"""The quantization libraries: what each can be asked for, and the functions every one of them has.

A backend is a module that satisfies `Backend`. Importing it imports neither torch nor the library, so that
recipes can be checked and planned on a machine that has none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import torch


class Options(BaseModel):
    """What a recipe may say beside ``backend`` and ``scheme``; a scheme without options uses this class itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


@dataclass(frozen=True)
class Scheme:
    """One thing a backend can be asked to do.

    Attributes:
        summary: What it does, for messages and cards.
        options: The type of its options, with their defaults.
        bits: Bits a quantized weight takes, statistics left out.
        refuses: Libraries (``diffusers``, ``transformers``) whose components it cannot save, with the reason.
        needs: What the machine that quantizes must have (``cuda``), empty where a CPU does.
    """

    summary: str
    options: type[BaseModel] = Options
    bits: int = 8
    refuses: Mapping[str, str] = field(default_factory=dict)
    needs: str = ""
