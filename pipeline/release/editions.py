"""Editions: what a release that has several artifacts of a component looks like to whoever loads one of them."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.backends.artifact import CONFIG
from pipeline.files import files_under, link_or_copy, pretty_json, write_atomically
from pipeline.plan.model import TargetPlan, form_of
from pipeline.source.layout import INDEX


def lay_out_edition(folder: Path, plan: TargetPlan, number: int, at: Path) -> Path:
    """Lay the files of one edition out as if there were no other, and return the folder.

    Args:
        folder: The release, or what was read of it.
        plan: Its plan.
        number: Which of the plan's editions.
        at: A folder that is not there yet.
    """
    if not plan.further:
        return folder
    left, config = plan.files_beside, ""
    if number:
        name, part = plan.beside[number - 1]
        first, inside = plan.components[name], folder / (name if plan.is_pipeline else "")
        form = form_of(first.library, first.quantization)
        left |= {plan.path_of(name, file) for file in form.weights_in(inside)}
        left |= {plan.path_of(name, path.name) for path in inside.glob(f"*{INDEX}")}
        left -= {plan.path_of(name, part.file)}
        config = plan.path_of(name, CONFIG) * form.config
        left |= {config}
    for path in files_under(folder):
        if not (file := path.relative_to(folder).as_posix()).startswith(".") and file not in left:
            link_or_copy(path, at / file)
    if config:  # it tells how the first artifact is quantized, and the file of another tells that by itself
        said = json.loads((folder / config).read_bytes())
        del said["quantization_config"]
        write_atomically(at / config, pretty_json(said))
    return at
