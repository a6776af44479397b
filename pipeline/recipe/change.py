"""A change to a recipe's text: what one target does to its components, with every other character left as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from pipeline.errors import RecipeError
from pipeline.recipe.load import Loaded
from pipeline.recipe.patterns import covered
from pipeline.recipe.schema import Quantization
from pipeline.recipe.whole import plain_or_json

REMARK: Final = "# tuned: "  # how a remark of ours begins; a later one takes its place
USUAL: Final[Mapping[str, Any]] = {"keep": (), "dtype": "bfloat16"}


def require_own_words(loaded: Loaded, targets: Iterable[str]) -> None:
    """Refuse to change targets of a recipe in which one place says something for several.

    Raises:
        RecipeError: It has YAML aliases, or files that it includes say something of the targets.
    """
    for target in targets:
        if target in loaded.lent:
            raise RecipeError(
                f"The target {target!r} comes from a file that this recipe includes, as others may.",
                where=str(loaded.path),
                remedy="Move the target from that file into the recipe.",
            )
    for event in YAML(typ="safe", pure=True).parse(loaded.text.decode("utf-8-sig")):
        if isinstance(event, AliasEvent):
            raise RecipeError(
                "This recipe shares blocks by YAML aliases, and a change of one target would change others.",
                where=f"{loaded.path}:{event.start_mark.line + 1}:{event.start_mark.column + 1}",
                remedy="Write out what the targets to tune share, in a copy of the recipe if you like.",
            )


def changed(
    text: str,
    target: str,
    components: Mapping[str, Quantization | None],
    remark: str,
    begun: Collection[str] = (),
) -> str:
    """Return a recipe's text with other quantizations of some components of a target.

    Args:
        text: The recipe, without problems.
        target: The target, which names its components.
        components: Those that change, and what becomes of each: nothing where the target leaves it as it is from now
            on. Another component of the target has to remain.
        remark: What to say above the target, in one line.
        begun: The components that begin with defaults, of which every word is written.
    """
    place, parts = _entry(_entry(YAML().compose(text), "targets")[1], target)
    names = [key.value for key, _ in parts.value]
    for index, (name, (_, value)) in reversed(list(enumerate(zip(names, parts.value, strict=True)))):
        if name not in components:
            continue
        if (quantization := components[name]) is None:
            begin, end = _room(parts, index, [other for other in names if components.get(other, "stays") is not None])
            text = text[:begin] + text[end:]
        else:
            value = value.value[0] if isinstance(value, SequenceNode) else value  # noqa: PLW2901 - the further ones stay
            text = text[: value.start_mark.index] + flow(quantization, whole=name in begun) + text[_end(value) :]
    return _remarked(text, place.start_mark.index, remark)


def _room(parts: Node, index: int, staying: list[str]) -> tuple[int, int]:
    """Return the stretch of text that an entry takes with what separates it from those that stay."""
    key, value = parts.value[index]
    if any(other.value in staying for other, _ in parts.value[index + 1 :]):
        return key.start_mark.index, parts.value[index + 1][0].start_mark.index
    before = max(number for number in range(index) if parts.value[number][0].value in staying)
    return _end(parts.value[before][1]) if before + 1 == index else _end(parts.value[index - 1][1]), _end(value)


def flow(quantization: Quantization, *, whole: bool = False) -> str:
    """Return a quantization as a recipe has it, in one line; what would be so anyway is left out unless asked for."""
    words: dict[str, Any] = {"backend": quantization.backend, "scheme": quantization.scheme, **quantization.options}
    if layers := words.get("layers"):  # of which the search may have kept all that a pattern names
        words["layers"] = {name: word for name, word in layers.items() if not covered(name, quantization.keep)}
    further = {"keep": quantization.keep, "dtype": quantization.dtype}
    words |= {name: value for name, value in further.items() if whole or value != USUAL[name]}
    return "{" + ", ".join(f"{name}: {_written(value)}" for name, value in words.items()) + "}"


def _written(value: Any) -> str:
    """Return a value as YAML that is JSON where it is no plain word."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_written, value)) + "]"
    return plain_or_json(value) if isinstance(value, str) else json.dumps(value)


def _entry(mapping: Node, word: str) -> tuple[Node, Node]:
    """Return a key and what it introduces."""
    return next((key, value) for key, value in mapping.value if key.value == word)


def _end(node: Node) -> int:
    """Return where a node ends; what is written as a block ends with its last word, not where the next line begins."""
    if isinstance(node, MappingNode) and not node.flow_style:
        return _end(node.value[-1][1])
    if isinstance(node, SequenceNode) and not node.flow_style:
        return _end(node.value[-1])
    return int(node.end_mark.index)


def _remarked(text: str, at: int, remark: str) -> str:
    """Put a remark in a line of its own above a place, instead of one that is there."""
    begin = text.rfind("\n", 0, at) + 1
    indent = re.match(r" *", text[begin:])[0]  # type: ignore[index]
    above = text.rfind("\n", 0, begin - 1) + 1 if begin else 0
    if text[above:begin].lstrip().startswith(REMARK):
        begin, text = above, text[:above] + text[begin:]
    return f"{text[:begin]}{indent}{REMARK}{remark}\n{text[begin:]}"
