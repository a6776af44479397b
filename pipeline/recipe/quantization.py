"""One component's quantization: backend, scheme and, flat beside them, the options that this scheme has."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic.fields import FieldInfo

from pipeline.recipe.nodes import Mapping, Node, Scalar, text_at
from pipeline.recipe.problems import listed, nearest, unknown
from pipeline.recipe.reader import FAILED, Hook, Reader
from pipeline.recipe.schema import Quantization

if TYPE_CHECKING:
    from pipeline.recipe.vocabulary import Vocabulary

CORE = {name: info for name, info in Quantization.model_fields.items() if name != "options"}


def hook(vocabulary: Vocabulary) -> Hook:
    """Return how a `Reader` reads a quantization in these words."""
    return partial(_read, vocabulary)


def words_at(node: Node) -> tuple[str, str]:
    """Return the backend and the scheme that stand at a node, empty where there is none."""
    return text_at(_meant(node, "backend")), text_at(_meant(node, "scheme"))


def _meant(node: Node, word: str) -> Node | None:
    """Return what stands under a word, or under a misspelling of it."""
    if not isinstance(node, Mapping):
        return None
    key = word if word in node.keys else next((key for key in node.keys if nearest(key, CORE) == word), word)
    return node.get(key)


def _read(vocabulary: Vocabulary, reader: Reader, node: Node) -> Any:
    if not isinstance(node, Mapping):
        return reader.expected(node, "a mapping such as {backend: bitsandbytes, scheme: nf4}")
    backend, scheme = words_at(node)
    rules = vocabulary.rules(backend, scheme)
    options = dict(rules.options.model_fields) if rules else _any_option(vocabulary)
    stray = partial(_option_of_others, vocabulary, f"{backend} {scheme}", options)
    values = reader.read_fields(node, CORE | options, stray)
    if rules is None:
        _report_words(vocabulary, reader, node)
        return FAILED
    given = {name: value for name, value in values.items() if name in options}
    chosen = reader.build(node, rules.options, given)
    core = {name: value for name, value in values.items() if name in CORE}
    return reader.build(node, Quantization, core | {"options": _complete(chosen)})


def _complete(options: Any) -> Any:
    """Return the options as JSON, defaults included: a digest must not depend on what the author spelled out."""
    return FAILED if options is FAILED else options.model_dump(mode="json")


def _any_option(vocabulary: Vocabulary) -> dict[str, FieldInfo]:
    """Return the options of all schemes, for a scheme that is not known: only what none of them has is wrong."""
    return {name: FieldInfo(annotation=Any, default=None) for name in sorted(vocabulary.options)}


def _option_of_others(vocabulary: Vocabulary, scheme: str, options: dict[str, FieldInfo], key: str) -> str:
    """Say of an option of other schemes whose it is, and what this scheme has instead."""
    others = vocabulary.schemes_with(key)
    if key in CORE or not others:
        return ""
    has = f"has {listed(options, 'and')}" if options else "has no options"
    return f"'{key}' is an option of {listed(others, 'and')}; {scheme} {has}"


def _written(node: Node, word: str) -> Scalar | None:
    """Return the text that stands under a word, be it empty; what is no text has been reported as such."""
    found = _meant(node, word)
    return found if isinstance(found, Scalar) and not found.is_null else None


def _report_words(vocabulary: Vocabulary, reader: Reader, node: Mapping) -> None:
    """Report a backend that is unknown, or a scheme that this backend does not have."""
    backend, scheme = _written(node, "backend"), _written(node, "scheme")
    schemes = vocabulary.schemes.get(text_at(backend))
    if schemes is None and backend is not None:
        reader.page.report(backend.place, *unknown("backend", text_at(backend), vocabulary.schemes))
    if scheme is None:
        return
    owners = vocabulary.backends_with(text_at(scheme))
    if schemes is not None and owners:
        said = f"'{text_at(scheme)}' is a scheme of {listed(owners, 'and')}, not of {text_at(backend)}"
        reader.page.report(scheme.place, said, nearest(text_at(scheme), schemes))
    elif not owners:
        every = {word for known in vocabulary.schemes.values() for word in known}
        kind = f"{text_at(backend)} scheme" if schemes is not None else "scheme"
        reader.page.report(scheme.place, *unknown(kind, text_at(scheme), sorted(schemes or every)))
