"""Build: the number that a recipe counts up where all of it is to be made again, as it stands in the text."""

from __future__ import annotations

from typing import Final

from ruamel.yaml import YAML

KEY: Final = "build"


def numbered(text: str, number: int) -> str:
    """Return a recipe's text with another number of its build, and every other character as it is.

    One that had none gets it in a last line of its own, away from what other changes touch.

    Args:
        text: The recipe, without problems.
        number: The number.

    Returns:
        The text; as it was where the number stands in a form that no other takes the place of, or has no place.
    """
    root = YAML().compose(text)
    for key, value in root.value:
        if key.value == KEY:
            begin, end = value.start_mark.index, value.end_mark.index
            return f"{text[:begin]}{number}{text[end:]}" if text[begin:end] == value.value else text
    if root.flow_style:
        return text
    line = "\r\n" if "\r\n" in text else "\n"
    return f"{text}{'' if text.endswith(line) else line}{' ' * root.start_mark.column}{KEY}: {number}{line}"
