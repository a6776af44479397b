"""A small vocabulary of the real one's shape, and a recipe without mistakes to start from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from pipeline.recipe import Vocabulary
from pipeline.tasks import TASKS

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Path(__file__).parent


class Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class FourBit(Options):
    double_quant: bool = False
    compute_dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"


class Int8(Options):
    threshold: float = Field(default=6.0, ge=0)


class Grouped(Options):
    group_size: Literal[32, 64, 128, 256] = 128


@dataclass(frozen=True)
class Rules:
    options: type[BaseModel] = Options
    refuses: Mapping[str, str] = field(default_factory=dict)
    dtype: str = ""
    ends: str = ""
    summary: str = "What the scheme does."


NO_TRANSFORMERS = Rules(refuses={"transformers": "it has no way to write quanto tensors"})


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return Vocabulary(
        schemes={
            "bitsandbytes": {"nf4": Rules(FourBit), "fp4": Rules(FourBit), "int8": Rules(Int8)},
            "torchao": {"int8-weight-only": Rules(), "float8-weight-only": Rules(), "int4-weight-only": Rules(Grouped)},
            "quanto": dict.fromkeys(["int8", "int4", "float8"], NO_TRANSFORMERS),
        },
        templates=frozenset(TASKS),
        tasks=TASKS,
        folders=frozenset({"bitsandbytes", "torchao", "quanto"}),
    )
