"""What of a recipe is tried with a stand-in, and in words what is not."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import accumulate
from typing import Any, Final

from pipeline.backends import BACKENDS
from pipeline.backends.available import cuda_devices
from pipeline.recipe import DatasetPrompts, FolderSource, Loaded, Quantization, Recipe
from pipeline.recipe.names import is_path
from pipeline.source.layout import Layout, Place, read_slots
from pipeline.trial.stand_in import StandIn

OF_CLIP: Final = "clip_similarity"  # judged by the model of clip_score where it names none
TOO_SMALL: Final = "ms_ssim"  # looks at pictures from 176 pixels a side
LABELLED: Final = "label_accuracy"
SAID: Final = ("wer", "cer")  # of what is said, of which random weights hear nothing
NUMBERED: Final = re.compile(r"(^|\.)[][\d?*!-]*[1-9][][\d?*!-]*(\.|$)")  # a layer after the first, such as 58 or 3?
BUDGET: Final = "not tried: what fits a budget follows from the source's own size; `publish plan` finds it"


def reduced(loaded: Loaded, stand_in: StandIn) -> tuple[Loaded, list[str]]:
    """Return a recipe of the same targets with a stand-in as its source, and what is left out of it.

    What lies on a Hub is left out, and what cannot be asked of a model so small; there is one seed, and few steps.
    """
    recipe, validation, told = loaded.recipe, loaded.recipe.validation, list[str]()
    call, strange = stand_in.called(validation.call)
    told += [f"{name} under `call` is not tried: the stand-in takes none" for name in strange]
    unmeasured = not_measured(recipe, stand_in)
    told += [f"{name} is not measured: {why}" for name, why in unmeasured.items()]
    told += ["its LoRAs are not tried: they fit the source alone"] if recipe.loras else []
    told += ["torch.compile is not tried"] if validation.compile else []
    told += ["a small device is not tried: the stand-in fits any"] if validation.device else []
    told += ["its prompts are in a dataset; others are asked"] if from_dataset(recipe) else []
    asked = {"call": call, "seeds": validation.seeds[:1], "compile": None, "device": None}
    bar = validation.require.model_copy(update=dict.fromkeys(unmeasured))
    changed = {
        "source": FolderSource(path=str(stand_in.folder)),
        "loras": (),
        "validation": validation.model_copy(update={**asked, "require": bar}),
    }
    return replace(loaded, recipe=recipe.model_copy(update=changed)), told


def not_measured(recipe: Recipe, stand_in: StandIn) -> dict[str, str]:
    """Return the requirements of a recipe that a trial leaves out, each with the reason."""
    require = recipe.validation.require
    absent = [name for name, (model, _) in require.judged.items() if not is_path(model)]
    absent += [OF_CLIP] if "clip_score" in absent and OF_CLIP not in require.judged else []
    reasons = dict.fromkeys(absent, "its judge is on a Hub")
    reasons |= {LABELLED: "its labels are in a dataset"} if from_dataset(recipe) else {}
    reasons |= {} if stand_in.itself else {TOO_SMALL: "pictures of a stand-in are too small"}
    reasons |= {} if stand_in.itself else dict.fromkeys(SAID, "a stand-in hears no words")
    reasons |= dict.fromkeys(SAID, "its clips are in a dataset") if from_dataset(recipe) else {}
    return {name: reasons[name] for name, limit in require if limit is not None and name in reasons}


def from_dataset(recipe: Recipe) -> bool:
    """Return whether a recipe's prompts are rows of a dataset, which is on a Hub."""
    return isinstance(recipe.validation.prompts, DatasetPrompts)


def tried_parts(
    wanted: Mapping[str, Quantization], stand_in: StandIn, layout: Layout, place: Place
) -> tuple[dict[str, Quantization], list[str]]:
    """Return what is tried of what a target does to the source's components, and why the rest is not."""
    found, told = dict[str, Quantization](), list[str]()
    for name, part in wanted.items():
        if BACKENDS[part.backend].SCHEMES[part.scheme].makes_on == "cuda" and not cuda_devices():
            told.append(f"{name} is not tried: {part.backend} makes {part.scheme} on a CUDA device only")
        elif name not in layout.components and not stand_in.fits:
            told.append(f"{name} is not tried: the stand-in has no such component")
        else:
            known = modules(layout, place, name) if part.keep and not stand_in.itself else ()
            left = [pattern for pattern in part.keep if names_nothing(pattern, known, stand_in)]
            told += [f"keep {pattern!r} is not tried: the stand-in's {name} has no such layer" for pattern in left]
            asked: dict[str, Any] = {"keep": tuple(one for one in part.keep if one not in left)}
            if part.options.get("names") == "family" and not stand_in.itself:  # FLUX.1's are known of one width alone
                told.append(
                    f"the family's names are not tried: {name} of the stand-in may be none that they are known of"
                )
                asked["options"] = {**part.options, "names": "diffusers"}
            found[name] = part.model_copy(update=asked)
    return found, told


def names_nothing(pattern: str, modules: Collection[str], stand_in: StandIn) -> bool:
    """Return whether a ``keep`` may name layers of the source that a shallower model, or another one, does not have."""
    if stand_in.itself:
        return False
    return (bool(NUMBERED.search(pattern)) or not stand_in.fits) and not any(
        fnmatchcase(name, pattern) for name in modules
    )


def modules(layout: Layout, place: Place, component: str) -> set[str]:
    """Return the modules of a component as the names of its tensors have them."""
    if component not in layout.components:
        return set()
    tensors = [name for file in read_slots(place, layout.components[component]).values() for name in file]
    return {module for name in tensors for module in accumulate(name.split("."), "{}.{}".format)}
