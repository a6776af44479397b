"""A tree read as declared types: what is missing, unknown, of another type or out of range, each at its place.

The declared type decides what a word means: where text is declared, ``1e5`` and ``0123456`` are the text that was
written. Every part is read whatever is wrong with its neighbours, so that all problems are found at once; a part that
could not be read is `FAILED`, which is passed on in silence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from collections.abc import Mapping as Table
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from pipeline.recipe.names import ClashError, UnfitError
from pipeline.recipe.nodes import Mapping, Node, Page, Scalar, Sequence, Unreadable, describe, place_of
from pipeline.recipe.problems import listed, nearest, unknown

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

FAILED: Any = type("Failed", (), {"__repr__": lambda _: "FAILED"})()
Hook = Callable[["Reader", Node], Any]

_MEANT = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
_TYPED: dict[Any, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
}
_PLAINLY = {  # pydantic's error types, for people
    "greater_than": "{found} is out of range; it must be greater than {gt}",
    "greater_than_equal": "{found} is out of range; it must be at least {ge}",
    "less_than": "{found} is out of range; it must be less than {lt}",
    "less_than_equal": "{found} is out of range; it must be at most {le}",
    "too_short": "'{name}' needs at least one entry",
    "string_too_short": "the text here must not be empty",
}


class Reader:
    """Reads the nodes of one page.

    Args:
        page: Where problems are reported.
        hooks: How to read a type that is written differently from how it is declared.

    """

    def __init__(self, page: Page, hooks: Table[Any, Hook]) -> None:
        self.page = page
        self.hooks = hooks

    def read(self, node: Node, kind: Any, name: str = "word") -> Any:
        """Return a node's value as the declared type, or `FAILED` with a problem reported.

        Args:
            node: What was written.
            kind: The declared type.
            name: What the value is called in messages.

        """
        if isinstance(node, Unreadable):
            return FAILED
        kind = _bare(kind)
        origin, inner = get_origin(kind), get_args(kind)
        if origin is Literal:
            return self._read_word(node, inner, name)
        if origin is not None:
            return self._read_generic(node, origin, inner)
        if kind in self.hooks:
            return self.hooks[kind](self, node)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return self.read_model(node, kind)
        return self._read_scalar(node, kind)

    def _read_generic(self, node: Node, origin: Any, inner: tuple[Any, ...]) -> Any:
        """Read a node as a type with parameters."""
        if origin in (tuple, list):
            return self._read_list(node, origin, inner[0])
        if origin is dict:
            return self._read_table(node, *inner)
        return self._read_union(node, inner)

    def read_model(self, node: Node, model: type[BaseModel]) -> Any:
        """Return an instance of a model, or `FAILED`."""
        if not isinstance(node, Mapping):
            needed = [name for name, info in model.model_fields.items() if info.is_required()]
            only = needed[0] if len(needed) == 1 else ""
            likely = f"{{{only}: {node.text}}}" if only and isinstance(node, Scalar) and not node.is_null else ""
            return self.expected(node, f"a mapping with {_quoted(needed or model.model_fields)}", likely)
        strays: Table[str, str] = getattr(model, "strays", {})
        return self.build(node, model, self.read_fields(node, model.model_fields, lambda key: strays.get(key, "")))

    def read_fields(
        self, node: Mapping, fields: Table[str, FieldInfo], stray: Callable[[str], str] = lambda _: ""
    ) -> dict[str, Any]:
        """Read a mapping's entries as fields: `FAILED` where one is wrong, left out where one is missing.

        Args:
            node: The mapping.
            fields: The keys that may stand there.
            stray: Says what is wrong with a key that is known elsewhere, empty where it is known nowhere.

        """
        values: dict[str, Any] = {}
        for key, value in node.entries:
            name = key.text if key.text in fields else self._unknown_key(key, node, fields, stray(key.text))
            if name in fields and name not in values:
                values[name] = self.read(value, fields[name].annotation, name)
        missing = [name for name, info in fields.items() if info.is_required() and name not in values]
        if missing:
            keys = "key" if len(missing) == 1 else "keys"
            self.page.report(node.place, f"missing {keys} {_quoted(missing)}")
        return values

    def build(self, node: Node, model: type[BaseModel], values: Table[str, Any]) -> Any:
        """Validate what was read; what the model finds is reported where it was written."""
        whole = {name: value for name, value in values.items() if value is not FAILED}
        try:
            made = model.model_validate(whole)
        except ValidationError as error:
            self._report(node, error, complete=len(whole) == len(values))
            return FAILED
        return made if len(whole) == len(values) else FAILED

    def _report(self, node: Node, error: ValidationError, *, complete: bool) -> None:
        for details in error.errors(include_url=False):
            if details["type"] == "missing":  # reported as a missing key, or as the failure of that field
                continue
            if not details["loc"] and not complete:  # a model judged as a whole that is not there as a whole
                continue
            unfit = details.get("ctx", {}).get("error")
            if isinstance(unfit, ClashError):
                continue
            suggestion = unfit.suggestion if isinstance(unfit, UnfitError) else ""
            self.page.report(place_of(node, details["loc"]), _said_of(details), suggestion)

    def expected(self, node: Node, what: str, suggestion: str = "") -> Any:
        """Report a node of the wrong type and return `FAILED`."""
        if not isinstance(node, Unreadable):
            self.page.report(node.place, f"expected {what}, found {describe(node)}", suggestion)
        return FAILED

    def _unknown_key(self, key: Scalar, node: Mapping, fields: Table[str, FieldInfo], stray: str) -> str:
        """Report a key that does not belong there; return the word it stands for where that one is not there itself."""
        if stray:
            self.page.report(key.place, stray)
            return ""
        meant = nearest(key.text, fields)
        if meant in node.keys:
            self.page.report(key.place, f"unknown key {key.text!r}; '{meant}' is here already")
            return ""
        every = (
            f"; the keys here are {listed(fields, 'and')}" if len(fields) > 1 else f"; the key here is {listed(fields)}"
        )
        self.page.report(key.place, f"unknown key {key.text!r}{'' if meant else every}", meant)
        return meant

    def _read_union(self, node: Node, kinds: tuple[Any, ...]) -> Any:
        models = tuple(kind for kind in map(_bare, kinds) if isinstance(kind, type) and issubclass(kind, BaseModel))
        table = next((kind for kind in kinds if get_origin(_bare(kind)) is dict), None)
        if table is not None and models:
            return self.read(node, models[0] if _means(node, models[0]) else table)
        if models:
            return self._read_one_of(node, models, or_text=any(_bare(kind) is str for kind in kinds))
        if (
            type(None) in kinds and isinstance(node, Scalar) and node.is_null and node.text
        ):  # spelled out, not forgotten
            return None
        rest = [kind for kind in kinds if kind is not type(None)]
        many = next((kind for kind in rest if get_origin(_bare(kind)) is tuple), None)
        if many is not None and isinstance(node, Sequence):
            return self.read(node, many)
        return self.read(node, rest[0]) if len(rest) == 1 else self._read_scalar(node, Any)

    def _read_one_of(self, node: Node, models: tuple[type[BaseModel], ...], *, or_text: bool) -> Any:
        """Read a node as one of several models, or as text where that is another way to say it."""
        if or_text and isinstance(node, Scalar):
            return self._read_scalar(node, str)
        if or_text and not isinstance(node, Mapping):
            return self.expected(node, "text or a mapping")
        return self._read_alternative(node, models) if len(models) > 1 else self.read_model(node, models[0])

    def _read_alternative(self, node: Node, models: tuple[type[BaseModel], ...]) -> Any:
        """Read a mapping as the one of several models whose required keys it has; others they may share."""
        needed = [[name for name, info in model.model_fields.items() if info.is_required()] for model in models]
        shared = set.intersection(*map(set, needed))
        required = [[name for name in names if name not in shared] for names in needed]
        choices = ", or ".join(_quoted(names) for names in required)
        if not isinstance(node, Mapping):
            return self.expected(node, f"a mapping with {choices}")
        every = [name for model in models for name in model.model_fields]
        meant = {word if word in every else nearest(word, every) for word in node.keys}
        fitting = [model for model, names in zip(models, required, strict=True) if meant & set(names)]
        if len(fitting) == 1:
            return self.read_model(node, fitting[0])
        said = f"give either {choices}, not both" if fitting else f"missing keys: either {choices}"
        self.page.report(node.place, said)
        for key in (key for key, _ in node.entries if key.text not in every):
            self._unknown_key(key, node, {name: info for m in models for name, info in m.model_fields.items()}, "")
        return FAILED

    def _read_word(self, node: Node, words: tuple[Any, ...], name: str) -> Any:
        """Return the one of a few values that is written."""
        if not isinstance(node, Scalar) or node.is_null:
            return self.expected(node, listed(words))
        value = node.text if isinstance(words[0], str) else node.value
        if value in words and type(value) is type(words[0]):
            return value
        if not isinstance(words[0], str):
            return self.expected(node, listed(words))
        self.page.report(node.place, *unknown(name, node.text, words))
        return FAILED

    def _read_list(self, node: Node, kind: type, inner: Any) -> Any:
        if not isinstance(node, Sequence):
            hint = f"[{node.text}]" if isinstance(node, Scalar) and not node.is_null else ""
            return self.expected(node, "a list", hint)
        items = [self.read(item, inner) for item in node.items]
        if not any(item is FAILED for item in items):
            return kind(items)
        for item, read in zip(node.items, items, strict=True):
            self._judge(item, inner, read)  # their model sees a list only if all of it is whole
        return FAILED

    def _read_table(self, node: Node, word: Any, inner: Any) -> Any:
        """Read a mapping with free keys; these are judged here, for a model sees them only if all values are whole."""
        if not isinstance(node, Mapping):
            return self.expected(node, "a mapping")
        for key, _ in node.entries:
            self._judge(key, word, key.text)
        table = {key.text: self.read(value, inner) for key, value in node.entries}
        return FAILED if any(value is FAILED for value in table.values()) else table

    def _judge(self, node: Node, kind: Any, value: Any) -> None:
        """Report what a type finds wrong with a value beside its kind."""
        if value is FAILED or get_origin(kind) is not Annotated:
            return
        try:
            TypeAdapter(kind).validate_python(value)
        except ValidationError as error:
            self._report(node, error, complete=True)

    def _read_scalar(self, node: Node, kind: Any) -> Any:
        if not isinstance(node, Scalar):
            what = "text" if kind is str else _TYPED.get(kind, ((), "text, a number, true or false"))[1]
            return self.expected(node, what)
        value = node.value
        if isinstance(value, float) and not math.isfinite(value) and kind is not str:
            self.page.report(node.place, f"{describe(node)} is no finite number of at most 64 bits")
            return FAILED
        if kind is str:
            return self.expected(node, "text") if node.is_null else node.text
        return value if kind is Any else self._read_typed(node, kind)

    def _read_typed(self, node: Scalar, kind: Any) -> Any:
        """Return a number or a truth value."""
        if kind not in _TYPED:
            return node.value  # a type that this reader does not know is judged by its model
        value, (fitting, what) = node.value, _TYPED[kind]
        if isinstance(value, fitting) and isinstance(value, bool) == (kind is bool):
            return kind(value)
        if isinstance(Scalar(node.place, node.text, plain=True).value, fitting) and not node.plain:
            return self.expected(node, f"{what} without quotes")
        return self.expected(node, what, _MEANT.get(node.text, "") if kind is bool else "")


def _means(node: Node, model: type[BaseModel]) -> bool:
    """Tell whether a mapping with free keys is not meant: one of the model's own is there, or nearly."""
    keys = [name for name, info in model.model_fields.items() if info.is_required()]
    return isinstance(node, Mapping) and any(word in keys or nearest(word, keys) for word in node.keys)


def _bare(kind: Any) -> Any:
    """Return a type without what is annotated to it."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return kind


def _quoted(words: Iterable[str]) -> str:
    return listed((f"'{word}'" for word in words), "and")


def _said_of(details: ErrorDetails) -> str:
    """Return a constraint's text, with the value where the text alone does not say which one."""
    context = details.get("ctx", {})
    if isinstance(context.get("error"), ValueError):
        return str(context["error"])
    if details["type"] not in _PLAINLY:
        return details["msg"][:1].lower() + details["msg"][1:]
    bounds = {name: _brief(value) for name, value in context.items()}
    return _PLAINLY[details["type"]].format(found=_brief(details["input"]), name=["", *details["loc"]][-1], **bounds)


def _brief(value: Any) -> str:
    return str(value).removesuffix(".0")
