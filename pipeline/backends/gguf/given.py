"""JSON beside somebody's weights, of which a header tells: what is read of it, with its types, and nothing else."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import SourceError
from pipeline.source.strict import WHOLE

Count = Annotated[int, Field(gt=0, lt=2**31)]
Id = Annotated[int, Field(ge=0, lt=2**31)]
Number = Annotated[float, Field(ge=-3.4e38, le=3.4e38)]  # what a float32 holds
Positive = Annotated[float, Field(gt=0, le=3.4e38)]
Read = TypeVar("Read", bound=BaseModel)


class Given(BaseModel):
    """An object that somebody else wrote."""

    model_config = ConfigDict(strict=True, frozen=True)


def read_as(kind: type[Read], value: Any, where: str) -> Read:
    """Return an object with its types.

    Args:
        kind: What is read of it.
        value: What stands there.
        where: The file, as it begins a sentence.

    Raises:
        SourceError: Something lacks, or is no such thing.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise SourceError(f"{where} has no {key}.", remedy=WHOLE) from error
        what = f"{where} is not readable{f' at {key}' if key else ''}: {first['msg'][0].lower()}{first['msg'][1:]}."
        raise SourceError(what, remedy=WHOLE) from error
