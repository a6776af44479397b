"""Every pair of answers; pictures are inside the page: as they were made where that is small, else compressed."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import mean

from pipeline.tasks import TASKS
from pipeline.validate.page.clips import Heard, heard
from pipeline.validate.page.differences import Piece, pieces
from pipeline.validate.page.numbers import in_order, is_cost, number
from pipeline.validate.report import PairReport, Report

WHOLE_BYTES = 8 << 20  # of all pictures as drawn; more than that is compressed
MOST_BYTES = 24 << 20  # about what all compressed pictures take
BYTES_A_PIXEL = 0.25  # of WebP at this quality, from photographs
QUALITY = 90
MOST_SIDE = 1024
LEAST_SIDE = 192
MILLISECONDS = 100  # that a frame of a video is shown for
SMALL_SIDE = 256  # up to here pictures are enlarged, pixel by pixel
FIRST = 12  # pairs that are in sight from the start


@dataclass(frozen=True)
class Compared:
    """A pair, with its pictures as ``data:`` addresses where answers are pictures.

    Attributes:
        index: Its place in the report, by which it is known.
        pair: What the report says of it.
        reference: The source's picture; empty where there is none.
        candidate: The target's picture.
        told: The tokens of both answers, where they are texts.
        clip: What was heard, where a clip is asked.
        width: Of the picture in pixels, as it was made.
        height: The same.
        measured: Of each metric its name, its value, and the source's own where it has one.
    """

    index: int
    pair: PairReport
    measured: list[tuple[str, str, str]]
    reference: str = ""
    candidate: str = ""
    width: int = 0
    height: int = 0
    told: tuple[list[Piece], list[Piece]] | None = None
    clip: Heard | None = None

    @property
    def small(self) -> bool:
        """Whether it is enlarged."""
        return max(self.width, self.height) <= SMALL_SIDE


@dataclass(frozen=True)
class Gallery:
    """All pairs, the worst first.

    Attributes:
        first: The pairs in sight from the start.
        rest: The others.
        orders: By metric, and as ``prompt`` and ``worst``: the pairs' indices in that order.
        note: What was done to the pictures or videos; empty where there are none.
    """

    first: tuple[Compared, ...]
    rest: tuple[Compared, ...]
    orders: dict[str, list[int]]
    note: str


def gallery(
    report: Report, reference: Path | None, candidate: Path | None, clips: Mapping[int, Path] | None = None
) -> Gallery:
    """Return the pairs, with their pictures where answers are pictures and are here.

    Args:
        report: The report on them.
        reference: The folder with the source's answers; None where they are not here.
        candidate: The folder with the candidate's answers.
        clips: The files of clips that were asked, by the prompts' numbers.
    """
    orders, beside = orders_of(report), TASKS[report.task].medium.beside
    drawn, note = _drawn(report, reference, candidate) if beside and reference and candidate else ({}, "")
    told = _told(report, reference, candidate) if reference and candidate else {}
    sounds = heard([report.pairs[index] for index in orders["worst"]], clips or {}, reference)
    worst = tuple(
        Compared(
            index,
            report.pairs[index],
            _measured(report, report.pairs[index]),
            *drawn.get(index, ("", "", 0, 0)),
            told.get(index),
            sounds.get(report.pairs[index].prompt),
        )
        for index in orders["worst"]
    )
    return Gallery(worst[:FIRST], worst[FIRST:], orders, note)


def _drawn(report: Report, reference: Path, candidate: Path) -> tuple[dict[int, tuple[str, str, int, int]], str]:
    """Return both pictures of each pair with their width and height, and what was done to them."""
    own = [reference / pair.reference for pair in report.pairs]
    paths = [
        (first, first if pair.identical else candidate / pair.candidate)
        for first, pair in zip(own, report.pairs, strict=True)
    ]
    files = {path for both in paths for path in both}
    sizes, frames = {path: _size(path) for path in files}, [_frames(path) for path in files]
    side = side_for(sum(path.stat().st_size for path in files), sum(frames))
    with ThreadPoolExecutor() as pool:
        inline = dict(zip(files, pool.map(lambda path: picture(path, side), files), strict=True))
    note = _note(side, sizes.values(), max(frames, default=1), TASKS[report.task].medium.noun)
    return {index: (inline[first], inline[other], *sizes[first]) for index, (first, other) in enumerate(paths)}, note


def _told(report: Report, reference: Path, candidate: Path) -> dict[int, tuple[list[Piece], list[Piece]]]:
    """Return the tokens of both answers of each pair, where answers are texts."""
    medium = TASKS[report.task].medium
    if medium.words is None:
        return {}
    paths = [(reference / pair.reference, candidate / pair.candidate) for pair in report.pairs]
    return {index: pieces(*map(medium.open, both)) for index, both in enumerate(paths)}


def side_for(size: int, frames: int) -> int | None:
    """Return the longest side that pictures may have, so that a browser can hold them; none if they stay as they are.

    Args:
        size: Bytes of all pictures.
        frames: How many they are, each frame of a video counted.
    """
    if size <= WHOLE_BYTES:
        return None
    return max(LEAST_SIDE, min(MOST_SIDE, int(sqrt(MOST_BYTES / frames / BYTES_A_PIXEL))))


def picture(path: Path, side: int | None) -> str:
    """Return a picture as a ``data:`` address: the file itself, or WebP of at most this side."""
    if side is None:
        return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
    from PIL import Image, ImageSequence

    out = io.BytesIO()
    with Image.open(path) as image:
        small, *others = [frame.convert("RGB") for frame in ImageSequence.Iterator(image)]
    for frame in (small, *others):
        frame.thumbnail((side, side), Image.Resampling.LANCZOS)
    small.save(out, "WEBP", quality=QUALITY, save_all=bool(others), append_images=others, duration=MILLISECONDS)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"


def orders_of(report: Report) -> dict[str, list[int]]:
    """Return the orders in which pairs can be looked at.

    The worst pair is one without an answer, else the one that has the worst places in the metrics' own orders.
    """
    pairs = report.pairs
    bad = {name: _badness(report, name) for name, finding in in_order(report).items() if not is_cost(finding)}
    bad = {name: found for name, found in bad.items() if found}
    places = {name: _places(found) for name, found in bad.items()}
    place = [mean([found[index] for found in places.values() if index in found] or [0]) for index in range(len(pairs))]

    def ordered(key: Callable[[int], float]) -> list[int]:
        return sorted(range(len(pairs)), key=lambda index: (not pairs[index].fault, key(index)))

    return {
        "worst": sorted(ordered(lambda index: place[index]), key=lambda index: pairs[index].identical),
        "prompt": list(range(len(pairs))),
        **{name: ordered(lambda index, found=found: -found.get(index, float("-inf"))) for name, found in bad.items()},  # type: ignore[misc]
    }


def _badness(report: Report, name: str) -> dict[int, float]:
    """Return how much a metric speaks against each pair: its drop, or the value turned so that more is worse."""
    sign = -1.0 if report.metrics[name].direction == "higher" else 1.0
    return {
        index: sign * (pair.values[name] - pair.reference_values.get(name, 0.0))
        for index, pair in enumerate(report.pairs)
        if name in pair.values
    }


def _places(bad: Mapping[int, float]) -> dict[int, int]:
    """Return each pair's place, 0 for the worst; equals share theirs."""
    ranked = sorted(bad.values(), reverse=True)
    return {index: ranked.index(value) for index, value in bad.items()}


def _measured(report: Report, pair: PairReport) -> list[tuple[str, str, str]]:
    """Return a pair's values; where the source's own stands beside one, neither has room for its unit."""
    found, own = [], pair.reference_values
    for name, finding in in_order(report).items():
        if name in pair.values and not is_cost(finding):
            value, beside = pair.values[name], own.get(name)
            shown = number(value, finding.unit) if beside is None else number(value)
            found.append((name, shown, "" if beside is None else number(beside)))
    return found


def _size(path: Path) -> tuple[int, int]:
    from PIL import Image

    with Image.open(path) as image:
        return image.size


def _frames(path: Path) -> int:
    from PIL import Image

    with Image.open(path) as image:
        return int(getattr(image, "n_frames", 1))


def _note(side: int | None, sizes: Iterable[tuple[int, int]], frames: int, noun: str) -> str:
    width, height = max(sizes, default=(0, 0))
    pixels = f"{f'{frames} frames of ' if frames > 1 else ''}{width} x {height} pixels"
    if side is None:
        return f"Every {noun} is the PNG that was measured, {pixels}."
    return (
        f"What was measured are PNGs of {pixels}; to keep this page small it shows them as WebP of "
        f"quality {QUALITY}, at most {side} pixels wide or high."
    )
