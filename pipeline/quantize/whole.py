"""A component that its library makes whole: laid out for it as a user would have it, made aside, taken over."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from pipeline.backends import BACKENDS
from pipeline.backends.artifact import Artifact, BuildRequest, Calibration
from pipeline.files import emptied, link_or_copy, pretty_json, write_atomically
from pipeline.plan.model import ResolvedComponent, scheme_of
from pipeline.tasks.answers import Request
from pipeline.tasks.calibration import BY


def make_whole(
    part: ResolvedComponent,
    source: Path,
    out: Path,
    journal: Path,
    device: str,
    request: Request | None = None,
) -> Artifact:
    """Have the library make a component, unless an interrupted run did, and return what it made.

    Files of the source that a checkpoint takes as they are lie in the folder already, and stay.

    Args:
        part: What is known of the component.
        source: A folder with its files, as ``from_pretrained`` reads them.
        out: The folder of the result.
        journal: The file that remembers what was made.
        device: Where the library works; on a CUDA device where it can nowhere else.
        request: What the source is asked, for a scheme that depends on it.

    Raises:
        CannotHereError: Something that the library needs is missing.
        QuantizationError: It failed.
    """
    if artifact := made_before(journal):
        return artifact
    chosen, scheme = part.quantization, scheme_of(part.quantization)
    with emptied(journal.with_suffix(".making")) as aside:
        made = BACKENDS[chosen.backend].build(
            BuildRequest(
                backend=chosen.backend,
                library=part.component.library,  # type: ignore[arg-type]
                class_name=part.component.class_name,
                source=source,
                out=aside,
                dtype=chosen.dtype,
                quantization=asked(part),
                device=device if scheme.makes_on == "cpu" else "cuda",
                calibration=Calibration(by=BY, request=request.job()) if request else None,
            )
        )
        taken = {name: file for name, file in made.files.items() if not (out / name).exists()}
        for name in taken:
            link_or_copy(aside / name, out / name)
    artifact = made.model_copy(update={"files": taken})
    write_atomically(journal, pretty_json(artifact.model_dump(mode="json")))
    return artifact


def made_before(journal: Path) -> Artifact | None:
    """Return what an interrupted run made, if it came so far."""
    try:
        return Artifact.model_validate_json(journal.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def asked(part: ResolvedComponent) -> dict[str, object]:
    """Return the ``quantization_config`` of a component, with the modules to leave alone as its library spells them."""
    backend, chosen = BACKENDS[part.quantization.backend], part.quantization
    settings = backend.configuration(chosen.scheme, chosen.options)
    key = backend.SKIP["key"]
    return settings | ({key: json.loads(part.answer.config)["quantization_config"][key]} if chosen.keep else {})
