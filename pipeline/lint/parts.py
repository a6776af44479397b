"""Parts: every tensor of every weight held against the rule of its format, from headers alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from re import compile as pattern
from typing import Final

from pipeline.lint.faults import Fault, told
from pipeline.lint.formats.protocol import Part, Reading, Weight
from pipeline.lint.subject import Subject

WHOLE: Final = "Ask its publisher for a whole file."
ROLES: Final = {"codes": "weight", "input": "scale of activations", "state": "state", "zero": "zero point"}
NUMBER: Final = pattern(r"(?<=\.)\d{1,9}(?=\.)")
FEWEST: Final = 8  # blocks of a kind, before one that differs is remarkable
SHARE: Final = 0.8  # of the blocks that have a layer, before lacking it is


def parts_of(subject: Subject, reading: Reading) -> Iterator[Fault]:
    """Yield the faults of missing parts, and of parts with another dtype or shape than the format's."""
    for weight in reading.weights:
        for role, part in weight.parts.items():
            yield from part_of(subject, weight, role, part)


def part_of(subject: Subject, weight: Weight, role: str, part: Part) -> Iterator[Fault]:
    """Yield the faults of one part of a weight."""
    there = subject.tensors.get(part.name)
    ending = part.name.removeprefix(weight.name.removesuffix("weight")).lstrip(".")
    if there is None:
        if part.needed:
            text = f"{weight.scheme} needs `{told(ending)}` beside its codes, and there is none."
            yield subject.fault("scale-missing", weight.name, text, part.remedy or WHOLE)
        return
    rule = "weight-wrong" if role == "codes" else "scale-wrong"
    if part.dtypes and there.dtype not in part.dtypes:
        text = f"Its {called(role)} is {there.dtype}, and {weight.scheme} has it as {' or '.join(part.dtypes)}."
        yield subject.fault(rule, part.name, text, WHOLE)
    elif None not in part.shapes and there.shape not in part.shapes:
        wanted = " or ".join(str(list(shape or ())) for shape in dict.fromkeys(part.shapes))
        text = f"Its {called(role)} has the shape {list(there.shape)}, and {weight.scheme} gives it {wanted}."
        yield subject.fault(rule, part.name, text, WHOLE)


def called(role: str) -> str:
    """Return what a role is called."""
    return ROLES.get(role, role)


def strangers(subject: Subject, reading: Reading) -> Iterator[Fault]:
    """Yield the faults of tensors that no part and no plain layer is: codes that nothing gives a meaning."""
    owned = {part.name for weight in reading.weights for part in weight.parts.values()} | reading.used
    for name, tensor in subject.tensors.items():
        odd = len(tensor.shape) > 1 and (tensor.dtype in CODES or (tensor.dtype == "I32" and name.endswith(PACKED)))
        lone = name.endswith(SCALES)
        if reading.weights and name not in owned and (odd or lone):
            what = f"It is {tensor.dtype} of shape {list(tensor.shape)}" if odd else "It is called as a scale is"
            yield subject.fault("tensor-unknown", name, f"{what} and belongs to no weight, so nothing reads it.")


LAYERS: Final = (".weight", ".weight_packed", "._weight_qdata", ".weight._data", ".weight._data._data")
CODES: Final = frozenset({"I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0"})
"""What codes are kept in; numbers of positions and masks of honest models are kept in others."""
PACKED: Final = ("weight_packed", "qweight", "qzeros", "weight_zero_point")
SCALES: Final = (
    "weight_scale", "weight_scale_2", "scale_weight", "scale_input", "input_scale", "weight_scale_inv", ".absmax",
    ".SCB", "nested_absmax", ".comfy_quant",
)  # fmt: skip


def gaps(subject: Subject) -> Iterator[Fault]:
    """Yield the faults of layers that one block lacks and its neighbours have.

    Blocks are told by their number in a name. The first and the last may differ from the others, as they do in honest
    models; a number that lacks between others does not.
    """
    kinds: dict[tuple[str, str], set[int]] = {}
    blocks: dict[str, set[int]] = {}
    for name in subject.tensors:
        if found := NUMBER.search(f".{name}"):
            before, after = f".{name}"[: found.start()], f".{name}"[found.end() :]
            if after.endswith(LAYERS):
                kinds.setdefault((before, after), set()).add(int(found[0]))
                blocks.setdefault(before, set()).add(int(found[0]))
    for (before, after), numbers in sorted(kinds.items()):
        inner = {number for number in blocks[before] if min(blocks[before]) < number < max(blocks[before])}
        missing = sorted(inner - numbers)
        if len(blocks[before]) >= FEWEST and missing and len(numbers) >= SHARE * len(blocks[before]):
            name = f"{before}{missing[0]}{after}".lstrip(".")
            text = f"{len(numbers)} of {len(blocks[before])} blocks have it, and {len(missing)} between them do not."
            yield Fault("tensor-missing", text, subject.name, name, WHOLE, "warning")
    for before, numbers in sorted(blocks.items()):
        lost = sorted(set(range(max(numbers))) - numbers) if max(numbers) < FEWEST * len(numbers) else []
        if len(numbers) >= FEWEST and lost:
            text = f"Blocks are numbered up to {max(numbers)}, and {told_numbers(lost)} there is nothing of."
            yield Fault("tensor-missing", text, subject.name, f"{before}{lost[0]}".lstrip("."), WHOLE, "warning")


def told_numbers(numbers: Iterable[int]) -> str:
    """Return a few numbers as a sentence has them."""
    shown = list(map(str, numbers))
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")
