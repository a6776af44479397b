"""The base: which of its tensors each weight was made of, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Final

import numpy as np

from pipeline.lint.decoding import Floats, rotated
from pipeline.lint.faults import Fault, told
from pipeline.lint.formats.protocol import Weight
from pipeline.lint.pass_over import Counterpart, Tally, comparable, parts_held, pieces
from pipeline.lint.spelled import Bases, transposed
from pipeline.lint.subject import Subject
from pipeline.source.safetensors import FLOATS

PREFIXES: Final = (
    "", "model.diffusion_model.", "diffusion_model.", "transformer.", "model.", "text_encoder.", "language_model.",
)  # fmt: skip
"""What stands before names where a model is a part of a whole."""
SHARE: Final = 0.5  # of the weights that must have a counterpart, before the rest is held to have one
APART: Final = 12.0  # decibels below its like, from which on a layer is remarkable
WITHIN: Final = 0.01  # of a gain of one, beside what the scheme's own noise takes
SAMPLED: Final = 1 << 16  # values of a layer by which it is told what it holds
ALIKE: Final = 0.8  # correlation, from which on a layer holds what another should
CANDIDATES: Final = 128  # layers of the base that are tried
GROUPS: Final = 256  # values that ConvRot rotates together
AGAIN: Final = "Make it again from the base, and compare it before it is published."
UNNAMED: Final = "Export the graph with the names of the model's modules, so that they can be compared."
OTHER: Final = "Name the base that it was made of, in the same names or as a folder of diffusers or transformers."


@dataclass(frozen=True)
class Matching:
    """Which tensor of a base each weight was made of.

    Attributes:
        counterparts: By the names of weights.
        without: The names of weights that have none.
        left: The names of the base's tensors that no weight was made of.
        reason: Why the base is not known by other names, where few weights have a counterpart.
    """

    counterparts: dict[str, Counterpart]
    without: list[str]
    left: list[str]
    reason: str = ""


def match(weights: Sequence[Weight], bases: Bases) -> Matching:
    """Find the counterpart of each weight by its name, in the base that has most of them.

    What stands before all names of a model may differ; and where most have none, the names of the family's own files
    are tried.
    """
    found = named_alike(weights, bases.subjects)
    if len(found.counterparts) >= SHARE * len(weights):
        return found
    others, reason = bases.respelled
    other = named_alike(weights, others)
    if len(other.counterparts) > len(found.counterparts):
        return other
    return replace(found, reason=reason)


def named_alike(weights: Sequence[Weight], bases: Iterable[Subject]) -> Matching:
    """Find the counterpart of each weight by its name, in the base that has most of them."""
    names = [weight.name for weight in weights]
    turned = {weight.name for weight in weights if weight.turned}
    best: Matching | None = None
    for base in bases:
        floats = {name: tensor for name, tensor in base.tensors.items() if tensor.dtype in FLOATS}
        for before in PREFIXES:
            for theirs in PREFIXES if not before else ("",):
                pairs = {name: theirs + name.removeprefix(before) for name in names if name.startswith(before)}
                found = {
                    name: transposed(base, floats[other]) if name in turned else Counterpart(base, floats[other])
                    for name, other in pairs.items()
                    if other in floats
                }
                if best is None or len(found) > len(best.counterparts):
                    left = sorted(floats.keys() - {one.tensor.name for one in found.values()})
                    best = Matching(found, [name for name in names if name not in found], left)
    return best or Matching({}, names, [])


def complete(subject: Subject, matching: Matching) -> Iterator[Fault]:
    """Yield the faults of layers that only one side has, where they mostly have the same."""
    count = len(matching.counterparts)
    if subject.container == "onnx":  # whose constants are folded, left out and called as its exporter likes
        if matching.without:
            text = f"{len(matching.without)} of its quantized weights have no name that the base has; {count} have."
            yield Fault("format-unclear", text, subject.name, remedy=UNNAMED, level="warning")
        return
    if count < SHARE * (count + len(matching.without)):
        text = f"Of its {count + len(matching.without)} weights, the base has {count} by these names."
        text += f" It is not known by others: {matching.reason}" if matching.reason else ""
        yield Fault("format-unclear", text, subject.name, remedy=OTHER, level="warning")
        return
    for name in matching.left:
        if not subject.is_tied(name):
            what = "has codes of it that nothing gives a meaning" if name in subject.tensors else "has not"
            yield Fault("tensor-missing", f"The base has this tensor, and the file {what}.", subject.name, name, AGAIN)
    for name in matching.without:
        text = "The base has no tensor of this name."
        yield Fault("tensor-unknown", text, subject.name, name, AGAIN, "warning")


def judged(subject: Subject, tallies: Sequence[Tally], matching: Matching) -> Iterator[Fault]:
    """Yield the faults of layers that are not what the base has."""
    usual: dict[str, list[float]] = {}
    for tally in tallies:
        if tally.judgeable:
            usual.setdefault(tally.weight.scheme, []).append(tally.sqnr)
    for tally in tallies:
        weight, counterpart = tally.weight, matching.counterparts.get(tally.weight.name)
        if counterpart and weight.shape and comparable(weight, counterpart) is None:
            shapes = f"It has the shape {list(weight.shape)}, and the base {list(counterpart.tensor.shape)}"
            yield subject.fault("weight-wrong", weight.codes, f"{shapes} under {told(counterpart.tensor.name)}.", AGAIN)
        elif tally.judgeable and counterpart:
            yield from judge(subject, tally, counterpart, median(usual[weight.scheme]))


def judge(subject: Subject, tally: Tally, counterpart: Counterpart, usual: float) -> Iterator[Fault]:
    """Yield the faults of one layer.

    Args:
        subject: The model.
        tally: What was found of it.
        counterpart: What it was made of.
        usual: The SQNR that layers of its scheme have.
    """
    weight, told_sqnr = tally.weight, f"its SQNR against the base is {tally.sqnr:.1f} dB"
    off = abs(tally.gain - 1)
    if tally.sqnr < weight.floor and tally.signal + tally.noise:
        rule, reason = diagnose(subject, tally, counterpart)
        least = f"{told_sqnr}, and {weight.scheme} leaves {weight.floor:.0f} dB or more"
        yield subject.fault(rule, weight.codes, f"{reason}: {least}.", AGAIN)
    elif tally.signal and off > WITHIN + 2 * tally.noise_share:
        text = f"It is {tally.gain:.3f} times what the base has: {told_sqnr}."
        yield subject.fault("layer-degenerate", weight.codes, text, "Its scales are wrong. " + AGAIN)
    elif tally.hollow and tally.sqnr >= 3 + weight.floor / 2:
        text = f"{tally.lost} of its rows have nothing of the base left, while {told_sqnr}."
        yield subject.fault("layer-degenerate", weight.codes, text, AGAIN)
    elif tally.sqnr < usual - APART:
        text = f"It has lost more than its like: {told_sqnr}, and {usual:.1f} dB is usual for {weight.scheme} here."
        yield subject.fault("layer-degenerate", weight.codes, text, "Look at it, or keep it unquantized.", "warning")


def diagnose(subject: Subject, tally: Tally, counterpart: Counterpart) -> tuple[str, str]:
    """Return the rule that a layer breaks, and what it holds instead, as far as a sample of it tells."""
    weight = tally.weight
    shape = comparable(weight, counterpart)
    if tally.zero:
        return "layer-degenerate", "All of it is zero"
    if not shape or shape[0] * shape[1] != counterpart.tensor.size:
        return "layer-degenerate", "It is not what the base has"
    held = parts_held(subject, weight, Tally(weight))
    first, values = next(pieces(subject, weight, held, shape[1]))
    rows = max(min(SAMPLED // shape[1], shape[0] // 2), 1)  # of halves that are exchanged, not both
    ours = values[: rows * shape[1]].reshape(-1, shape[1])
    last = first + ours.size
    same = counterpart.values(first, last).reshape(ours.shape)
    for reason, turned in guesses(ours, counterpart, same):
        if alike(ours, turned) > ALIKE:
            return "layer-degenerate", reason
    for other in others(counterpart):
        if alike(ours, other.values(first, last).reshape(ours.shape)) > ALIKE:
            return "layer-swapped", f"It holds what the base has as {told(other.tensor.name)}"
    return "layer-degenerate", "It is not what the base has"


def guesses(ours: Floats, counterpart: Counterpart, same: Floats) -> Iterator[tuple[str, Floats]]:
    """Yield what a layer may hold of its own counterpart, each with how that is called."""
    columns = ours.shape[1]
    gain = float((ours * same).sum() / max((same * same).sum(), np.finfo(np.float32).tiny))
    yield f"It is {gain:.3g} times what the base has", same
    yield "It is what the base has with its sign turned", -same
    if columns % 2 == 0:
        paired = same.reshape(-1, columns // 2, 2)[:, :, ::-1].reshape(ours.shape)
        yield "The two codes of each byte are in the other order", paired
    if columns % GROUPS == 0:
        yield f"It is rotated in groups of {GROUPS}, and nothing says so", rotated(np.ascontiguousarray(same), GROUPS)
    count = counterpart.tensor.size // columns
    if count % 2 == 0 and count // 2 + len(ours) <= count:
        begin = count // 2 * columns
        later = counterpart.values(begin, begin + ours.size)
        if later.size == ours.size:
            yield "Its two halves are exchanged", later.reshape(ours.shape)
    ending = counterpart.values((count - len(ours)) * columns, count * columns).reshape(ours.shape)
    yield "Its rows are in the other order", ending[::-1]


def others(counterpart: Counterpart) -> Iterator[Counterpart]:
    """Yield the other tensors of the base of the same shape, those of the most similar names first."""
    own = counterpart.tensor
    alike = [
        tensor
        for tensor in counterpart.base.tensors.values()
        if tensor.shape == own.shape and tensor.dtype in FLOATS and tensor.name != own.name
    ]
    ordered = sorted(alike, key=lambda tensor: -common(tensor.name, own.name))
    for tensor in ordered[:CANDIDATES]:
        yield Counterpart(counterpart.base, tensor)


def common(one: str, other: str) -> int:
    """Return how many signs two names have in common at their beginnings and ends."""
    begin = next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    end = next((place for place, (a, b) in enumerate(zip(one[::-1], other[::-1], strict=False)) if a != b), 0)
    return begin + end


def alike(one: Floats, other: Floats) -> float:
    """Return the correlation of two samples; nothing where either has no values."""
    ours, theirs = one.reshape(-1).astype(np.float64), other.reshape(-1).astype(np.float64)
    norms = float(np.sqrt(np.dot(ours, ours) * np.dot(theirs, theirs)))
    return float(np.dot(ours, theirs)) / norms if norms and np.isfinite(norms) else 0.0
