"""Lint: says of anybody's quantized file or repository whether it is what it says, without a GPU, torch or a recipe.

From headers: which format and whose, every part there and of the right kind, markers that loaders know, index,
configuration and headers agreeing. From one pass over the weights: scales and values that are numbers. Against a base:
what of every layer is left, and which ones hold something else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from math import inf, sqrt

from pipeline.errors import SourceError
from pipeline.events import Listener, silent
from pipeline.lint.base import OTHER, Matching, complete, judged, match
from pipeline.lint.contents import contents_of
from pipeline.lint.faults import Fault, layer_of, told
from pipeline.lint.formats import recognised
from pipeline.lint.formats.protocol import Reading, Weight
from pipeline.lint.formats.scaled import BARE
from pipeline.lint.lost import lost
from pipeline.lint.model import Examined, Layer, Linted
from pipeline.lint.parts import gaps, parts_of, strangers
from pipeline.lint.pass_over import Tally, pass_over, plain_weights
from pipeline.lint.spelled import Bases, Spell
from pipeline.lint.subject import Subject
from pipeline.lint.unequal import unequal
from pipeline.source.layout import Place

LOUD = 8.0  # the root mean square of no layer that was trained; codes of float8 have 30 and more

__all__ = ["Examined", "Fault", "Layer", "Linted", "lint"]


def lint(
    place: Place,
    base: Place | None = None,
    *,
    values: bool = True,
    spell: Spell | None = None,
    listen: Listener = silent,
) -> Linted:
    """Look at every model at a place.

    Args:
        place: A folder, or a repository at a commit.
        base: Where the models lie that these were made of.
        values: Whether weights are read, and not headers alone.
        spell: Says what a base of diffusers is called in the files of its family, where a model has other names.
        listen: Hears of progress in bytes.

    Raises:
        SourceError: There is nothing to look at, or it cannot be read.
        HubUnavailableError: The Hub does not answer.
    """
    found = contents_of(place)
    bases = Bases(full_precision(base) if base else [], spell)
    models = tuple(examine(subject, bases, values=values, listen=listen) for subject in found.subjects)
    if base and models and not any(model.matched or not is_whole(model.faults) for model in models):
        text = f"Nothing was compared: no weight has a name that {base.where} has."
        found.faults.append(Fault("format-unclear", text, models[0].name, remedy=OTHER))
    return Linted(place.where, models, tuple(found.faults))


def full_precision(base: Place) -> list[Subject]:
    """Return the models of a base that nobody quantized.

    Raises:
        SourceError: There is none.
    """
    contents = contents_of(base)
    readings = [recognised(subject)[1] for subject in contents.subjects]
    found = [subject for subject, reading in zip(contents.subjects, readings, strict=True) if not reading.weights]
    if found:
        return found
    reason = f"it is quantized itself ({told(readings[0].title)})" if readings else contents.faults[0].text[:-1]
    what = f"Nothing can be compared with it: {reason}."
    raise SourceError(what, where=base.where, remedy="Name the full-precision model that the file was made of.")


def examine(subject: Subject, bases: Bases, *, values: bool, listen: Listener) -> Examined:
    """Look at one model."""
    name, reading = recognised(subject)
    faults = list(subject.faults)
    whole = is_whole(faults)
    faults += [*reading.faults, *parts_of(subject, reading)] if subject.tensors else []
    if whole and not subject.tensors:
        faults.append(subject.fault("tensor-missing", "", "It holds no tensors.", level="warning"))
    sound, plains = unbroken(subject, reading, faults), plain_weights(subject, reading)
    matching = match([*reading.weights, *plains], bases) if bases.subjects else Matching({}, [], [])
    faults += besides(faults, strangers(subject, reading)) if whole else []
    faults += besides(faults, complete(subject, matching)) if bases.subjects and whole else []
    faults += besides(faults, gaps(subject)) if whole else []
    tallies = pass_over(subject, [*sound, *plains], matching.counterparts, listen) if values else []
    faults += [fault for tally in tallies for fault in spoiled(subject, tally)]
    faults += unscaled(subject, tallies)
    faults += [*uncalibrated(subject, reading), *unequal(subject, reading)] if values else []
    for tally in tallies:
        faults += lost(subject, tally, matching.counterparts.get(tally.weight.name))
    faults += judged(subject, tallies, matching)
    return Examined(
        name=subject.name,
        format=name,
        title=reading.title,
        loaders=reading.loaders if whole else "",
        schemes=dict(Counter(weight.scheme for weight in reading.weights).most_common()),
        tensors=len(subject.tensors),
        size=sum(tensor.end - tensor.begin for tensor in subject.tensors.values()),
        faults=tuple(faults),
        layers=tuple(
            Layer(tally.weight.name, tally.weight.scheme, tally.sqnr, tally.gain)
            for tally in tallies
            if tally.judgeable
        ),
        matched=len(matching.counterparts),
        unmatched=len(matching.without),
        read=values,
    )


def is_whole(faults: Iterable[Fault]) -> bool:
    """Return whether all files of a model are there and can be read, so that what lacks is not for want of them."""
    return not any(fault.rule in {"file-broken", "file-missing"} and fault.level == "error" for fault in faults)


def besides(known: Iterable[Fault], further: Iterable[Fault]) -> list[Fault]:
    """Return further faults without those of layers of which worse is known, from which they may follow."""
    layers = {layer_of(fault.tensor) for fault in known if fault.tensor}
    return [fault for fault in further if layer_of(fault.tensor) not in layers]


def unbroken(subject: Subject, reading: Reading, faults: Sequence[Fault]) -> list[Weight]:
    """Return the weights of which every part is there and as its format has it, so that they can be decoded."""
    broken = {fault.tensor for fault in faults if fault.rule in {"scale-missing", "scale-wrong", "weight-wrong"}}
    return [
        weight
        for weight in reading.weights
        if not broken & {weight.name, *(part.name for part in weight.parts.values())}
        and weight.codes in subject.tensors
    ]


def spoiled(subject: Subject, tally: Tally) -> Iterator[Fault]:
    """Yield the faults of values: scales that are no numbers, weights that are none, or nothing but zeros."""
    weight = tally.weight
    quantized = weight.scheme not in {"F32", "F16", "BF16", "F64"}
    for part, reason in tally.ruined:
        yield subject.fault("scale-damaged", part, f"{reason}.", "Make it again.")
    if not tally.finite:
        text = "It has values that are NaN or infinite"
        if "mask" in weight.name.rpartition(".")[2]:  # of attention, where minus infinity hides what must not be seen
            yield subject.fault("weight-damaged", weight.codes, f"{text}, as masks have.", level="warning")
        else:
            yield subject.fault("weight-damaged", weight.codes, f"{text}.", "Make it again; every answer would be NaN.")
    elif tally.zero and not tally.ruined and weight.decode and len(weight.shape) > 1 and not as_the_base(tally):
        text = "All of its values are zero."
        yield subject.fault("weight-damaged", weight.codes, text, level="error" if quantized else "warning")


def as_the_base(tally: Tally) -> bool:
    """Return whether a weight of zeros is what it was made of, as layers are that were never trained."""
    return bool(tally.rows) and not tally.signal


def unscaled(subject: Subject, tallies: Sequence[Tally]) -> Iterator[Fault]:
    """Yield the faults of float8 whose scales are gone, as its size tells; some layers are large, and never most."""
    bare = [tally for tally in tallies if tally.weight.scheme == BARE and len(tally.weight.shape) > 1]
    loud = [tally for tally in bare if LOUD**2 * tally.weight.size < tally.power < inf]
    for tally in loud if 2 * len(loud) > len(bare) else ():
        mean = sqrt(tally.power / tally.weight.size)
        text = f"Its values are of the size of {mean:.0f}, as codes are whose scale is gone, and nobody's weights."
        yield subject.fault("scale-missing", tally.weight.codes, text, "Ask its publisher for a whole file.")


def uncalibrated(subject: Subject, reading: Reading) -> Iterator[Fault]:
    """Yield the fault that the scales of the activations were never measured: each of them is one."""
    names = [
        weight.parts["input"].name
        for weight in reading.weights
        if "nvfp4" in weight.scheme and "input" in weight.parts and weight.parts["input"].name in subject.tensors
    ]
    if names and all(subject.tensors[name].size == 1 and subject.array(name).reshape(-1)[0] == 1 for name in names):
        text = f"All {len(names)} scales of activations are 1.0, so nobody measured them."
        remedy = "Measure them on prompts: on cards that use them, activations are cut off."
        yield subject.fault("scale-unset", names[0], text, remedy, "warning")
