"""A tree read as declared types: what is missing, unknown, of another type or out of range, each at its place.

pydantic judges the tree's plain values, and this room says what it found in words and where. What it found of a key
that is misspelled, or of a number where text is declared (``1e5``, ``0123456``), is mended in the tree, which is then
judged again, so that everything is found whatever is wrong with its neighbours.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable
from collections.abc import Mapping as Kinds
from typing import TYPE_CHECKING, Any, get_origin

from pydantic import BaseModel, ValidationError

from pipeline.recipe.names import ClashError
from pipeline.recipe.nodes import NOTHING, Node, Page, Table, describe, every, meaning, nearby, place_of
from pipeline.recipe.problems import listed, nearest, unknown

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Hook = Callable[["Reader", Table], Any]
Likely = tuple[str, str]  # what is wrong with something, and what was likely meant

_MEANT = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
_SCALARS: dict[str, tuple[str, tuple[type, ...]]] = {  # pydantic's error types: what is expected, and as what types
    "string_type": ("text", ()),
    "bool_type": ("true or false", (bool,)),
    "int_type": ("a whole number", (int,)),
    "float_type": ("a number", (int, float)),
}
_ANY = re.compile(r"str|bool|int|float|tuple\[.*")  # how pydantic's paths end where several types will do
_BOUNDS = {
    "greater_than": "{found} is out of range; it must be greater than {gt}",
    "greater_than_equal": "{found} is out of range; it must be at least {ge}",
    "less_than": "{found} is out of range; it must be less than {lt}",
    "less_than_equal": "{found} is out of range; it must be at most {le}",
    "too_short": "'{name}' needs at least one entry",
    "string_too_short": "the text here must not be empty",
}


class Reader:
    """Reads the nodes of one page, by hooks what is not written as declared or declared by another key.

    Args:
        page: The page.
        hooks: How some types are read.
        partial: Whether what is missing is elsewhere, so that nobody is told of it.
    """

    def __init__(self, page: Page, hooks: Kinds[type[BaseModel], Hook], *, partial: bool = False) -> None:
        self.page = page
        self.hooks = hooks
        self.partial = partial
        self.kinds: dict[str, type[BaseModel]] = {}

    def read(self, node: Node, model: type[BaseModel]) -> Any:
        """Return what a node says as a model, or None with problems reported; what was mended stays so."""
        while True:
            try:
                return model.model_validate(node.plain(), context=self)
            except ValidationError as error:
                found = error.errors(include_url=False)
            if not sum(self._mends(node, details) for details in found):  # all that can be
                self._report(node, found)
                return None

    def part(self, model: type[BaseModel], written: Any, build: Callable[[Any], Any]) -> Any:
        """Read one part of a recipe; every `RecipeModel` asks for it."""
        self.kinds[model.__name__] = model
        if isinstance(written, Table):
            written.node.kind = model
            if model in self.hooks:
                return self.hooks[model](self, written)
        return build(written)

    def _mends(self, root: Node, details: ErrorDetails) -> bool:
        """Mend what is wrong, and tell whether that could be done."""
        loc, node = details["loc"], nearby(root, details["loc"])
        if details["type"] == "extra_forbidden":
            return self._mends_key(nearby(root, loc[:-1]), str(loc[-1]))
        if node.value is None and not node.text and _any_will_do(details):
            node.text = "null"  # which will do as well
            return True
        as_text = details["type"] == "string_type" and not _any_will_do(details)
        as_text |= f"'{node.text}'" in details.get("ctx", {}).get("expected", "")
        if not as_text or not node.is_word or isinstance(node.value, str):
            return False
        node.value = node.text
        return True

    def _mends_key(self, node: Node, word: str) -> bool:
        """Report a key that does not belong there; it is read as the one it stands for if that is not there itself."""
        if node.kind is None or not isinstance(node.value, dict) or word not in node.value:
            return False
        fields, stray = node.kind.model_fields, getattr(node.kind, "strays", {}).get(word)
        meant, said = "" if stray else nearest(word, fields), stray or f"unknown key {word!r}"
        entry = node.value.pop(word)
        if meant in node.value:
            said, meant = f"{said}; '{meant}' is here already", ""
        elif meant:
            node.value[meant] = entry
        elif not stray:
            said += f"; the {'keys here are' if len(fields) > 1 else 'key here is'} {listed(fields, 'and')}"
        self.page.report(entry.at, said, meant)
        return True

    def _report(self, root: Node, found: list[ErrorDetails]) -> None:
        missing: dict[tuple[int | str, ...], list[str]] = defaultdict(list)
        for details in found:
            loc, node = details["loc"], nearby(root, details["loc"])
            if details["type"] == "missing" and loc[-1] == "revision" and (repo := _repository(nearby(root, loc[:-1]))):
                self.page.report_unpinned(repo)
            elif details["type"] == "missing":
                missing[loc[:-1]].append(repr(loc[-1]))
            elif isinstance(node.value, list) and _any_will_do(details):
                continue  # a list will do as well, and its items are told of
            elif self.partial and details["type"] == "either" and not _both(node, details):
                continue
            elif node.value is not NOTHING and not isinstance(details.get("ctx", {}).get("error"), ClashError):
                entry = getattr(details.get("ctx", {}).get("error"), "entry", None)
                place = place_of(root, loc if entry is None else (*loc, entry))
                self.page.report(place, *self._said(node, details))
        for loc, names in missing.items() if not self.partial else ():
            keys = "key" if len(names) == 1 else "keys"
            self.page.report(place_of(root, loc), f"missing {keys} {listed(names, 'and')}")

    def _said(self, node: Node, details: ErrorDetails) -> Likely:
        """Return what is wrong with a node."""
        kind, context = details["type"], details.get("ctx", {})
        name = next((str(step) for step in reversed(details["loc"]) if not str(step).startswith("[")), "")
        if kind == "value_error":
            return str(context["error"]), getattr(context["error"], "suggestion", "")
        if node.value in (math.inf, -math.inf):
            return f"{describe(node)} is no finite number of at most 64 bits", ""
        if kind in _BOUNDS:
            bounds = {word: str(bound).removesuffix(".0") for word, bound in context.items()}
            return _BOUNDS[kind].format(found=str(details["input"]).removesuffix(".0"), name=name, **bounds), ""
        if kind == "literal_error" and node.is_word and (words := re.findall("'(.*?)'", context["expected"])):
            return unknown(name if name.isidentifier() else "value", node.text, words)  # a user's own keys name nothing
        if kind == "either" and isinstance(node.value, dict):
            return f"give either {details['msg']}, not both" if _both(
                node, details
            ) else f"missing keys: either {details['msg']}", ""
        what, likely = self._expected(node, details)
        return f"expected {what}, found {describe(node)}", likely if node.is_word or isinstance(
            node.value, list
        ) else ""

    def _expected(self, node: Node, details: ErrorDetails) -> Likely:
        """Return what is expected instead of a node of another type."""
        kind, context = details["type"], details.get("ctx", {})
        if _any_will_do(details):
            return "text, a number, true or false", ""
        if kind == "model_type":
            fields = self.kinds[context["class_name"]].model_fields
            needed = [name for name, info in fields.items() if info.is_required()] or [*fields]
            listing = get_origin(fields[needed[0]].annotation) is tuple
            words = ", ".join(item.text for item in every(node, "#") or [node])
            fits = len(needed) == 1 and words and (listing or node.is_word)
            only = f"{{{needed[0]}: {f'[{words}]' if listing else words}}}" if fits else ""
            return f"a mapping with {listed(map(repr, needed), 'and')}", only
        if kind in _SCALARS:
            what, types = _SCALARS[kind]
            if isinstance(node.value, str) and type(meaning(node.text)) in types:
                return f"{what} without quotes", ""
            return what, _MEANT.get(node.text, "") if kind == "bool_type" else ""
        return {
            "either": (f"a mapping with {details['msg']}", ""),
            "dict_type": ("a mapping", ""),
            "tuple_type": ("a list", f"[{node.text}]"),
            "literal_error": (context.get("expected", "").replace("'", ""), ""),
        }.get(kind, (details["msg"], ""))


def _repository(node: Node) -> Node | None:
    """Return the repository that a part of a recipe names; None where it names none."""
    return next((named for word in ("repo", "dataset") for named in every(node, word) if named.is_word), None)


def _both(node: Node, details: ErrorDetails) -> bool:
    """Tell whether a node has keys of both of two kinds, and not none of either."""
    return isinstance(node.value, dict) and any(f"'{word}'" in details["msg"] for word in node.value)


def _any_will_do(details: ErrorDetails) -> bool:
    """Tell whether the type that is missed is one of several that will do."""
    return _ANY.fullmatch(str(*details["loc"][-1:])) is not None
