"""One component's quantization: backend, scheme and, flat beside them, the options that this scheme has."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, create_model

from pipeline.recipe.nodes import Table, text_at
from pipeline.recipe.problems import listed
from pipeline.recipe.schema import Quantization, Words

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pipeline.recipe.reader import Hook, Reader
    from pipeline.recipe.vocabulary import Vocabulary


class Default(Words):
    """What every target's component of a name begins with; the scheme's options stand beside the other words."""

    backend: str = ""
    scheme: str = ""


def hooks(vocabulary: Vocabulary) -> dict[type[BaseModel], Hook]:
    """Return how a `Reader` reads a quantization in these words, and what quantizations begin with."""
    known = cache(lambda backend, scheme: form(vocabulary, backend, scheme))

    def quantization(reader: Reader, written: Table) -> Quantization:
        backend, scheme = text_at(written.node, "backend"), text_at(written.node, "scheme")
        said = known(backend, scheme).model_validate(written, context=reader)
        words = {name: getattr(said, name) for name in Words.model_fields}
        # Defaults included: a digest must not depend on what the author spelled out.
        return Quantization(**words, options=said.model_dump(mode="json", exclude=set(words)))

    def default(reader: Reader, written: Table) -> Words:
        backend, scheme = text_at(written.node, "backend"), text_at(written.node, "scheme")
        kind = form(vocabulary, backend, scheme, Default) if backend and scheme else without_scheme(vocabulary)
        return kind.model_validate(written, context=reader)

    return {Quantization: quantization, Default: default}


def form(vocabulary: Vocabulary, backend: str, scheme: str, base: type[Words] = Words) -> type[Words]:
    """Return the type of a quantization as it is written: of an unknown scheme, one with the options of all schemes."""
    rules = vocabulary.rules(backend, scheme)
    if rules is None:
        anything: dict[str, Any] = dict.fromkeys(sorted(vocabulary.options), (Any, None))
        return create_model("Unknown", __base__=base, **anything)
    own = rules.options.model_fields
    rest = f"{backend} {scheme} has {listed(own, 'and') if own else 'no options'}"
    strays = {
        option: f"'{option}' is an option of {listed(vocabulary.schemes_with(option), 'and')}; {rest}"
        for option in vocabulary.options - own.keys()
    }
    words: dict[str, Any] = {"strays": strays, "__module__": __name__}
    if rules.dtype:
        described = Field(default=rules.dtype, description=base.model_fields["dtype"].description)
        words |= {"__annotations__": {"dtype": Literal[rules.dtype]}, "dtype": described}
    return type(f"{backend} {scheme}", (rules.options, base), words)


def without_scheme(vocabulary: Vocabulary) -> type[Words]:
    """Return the type of a default that names no scheme, and so has no options."""
    strays = {
        option: f"'{option}' is an option of {listed(vocabulary.schemes_with(option), 'and')}; "
        "write its backend and scheme beside it"
        for option in vocabulary.options
    }
    return type("No scheme", (Default,), {"strays": strays, "__module__": __name__})
