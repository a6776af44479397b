"""Long answers in pages, joined by a ``Link`` header as GitHub and the Hub write it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar
from urllib.parse import urlencode

from localhub.bodies import number_in
from localhub.refusals import bad_request
from localhub.web import Call

Row = TypeVar("Row")


def page_of(call: Call, rows: Sequence[Row], most: int) -> tuple[Sequence[Row], dict[str, str]]:
    """Return the page that a call asks for by ``cursor`` and ``limit``, and the header that names the next one."""
    start, size = _number(call, "cursor", 0), min(_number(call, "limit", most), most)
    page = rows[start : start + size]
    if start + size >= len(rows):
        return page, {}
    kept = [(name, value) for name, value in call.query.multi_items() if name != "cursor"]
    return page, {"Link": f'<{call.url}?{urlencode([*kept, ("cursor", start + size)])}>; rel="next"'}


def _number(call: Call, name: str, default: int) -> int:
    value = number_in(call.query.get(name, str(default)))
    if value is None or (name == "limit" and value == 0):
        raise bad_request(f"{name!r} has to be a number.")
    return value
