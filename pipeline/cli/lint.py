"""Lint: anybody's quantized file or repository, held against its format and its base."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.context import Session
from pipeline.cli.options import OutputFormat
from pipeline.files import human_size

if TYPE_CHECKING:
    from pipeline.lint import Examined, Linted
    from pipeline.source.layout import Place

SHOWN = 20  # kinds of faults of a model
WORST = 5  # layers, where there is a base


def lint(
    ctx: typer.Context,
    subject: Annotated[str, typer.Argument(metavar="FILE|REPO", help="A file, a folder or a repository.")],
    *,
    base: Annotated[str, typer.Option("--base", help="What it was made of: a file, a folder or a repository.")] = "",
    revision: Annotated[str | None, typer.Option("--revision", help="A commit, branch or tag; default main.")] = None,
    headers: Annotated[bool, typer.Option("--headers", help="Read headers and markers only, and no weights.")] = False,
    output_format: OutputFormat = None,
) -> None:
    """Say of anybody's quantized file or repository whether it is what it says; without a GPU or a recipe."""
    session: Session = ctx.obj
    from pipeline.cli.annotations import as_github, as_sarif
    from pipeline.lint import lint as look
    from pipeline.lint.faults import RULES

    with session.console:
        place = place_at(session, subject, revision)
        found = look(
            place, place_at(session, base) if base else None, values=not headers, listen=session.console.listen
        )
    told = [fault.below(found.where) for fault in found.everything]
    if output_format == "json":
        session.console.emit({"result": found.json()})
    elif output_format == "sarif":
        session.console.document(as_sarif(told, version("quantpress"), "publish lint", RULES))
    elif output_format == "github" and told:
        session.console.document(as_github(told, "publish lint"))
    elif output_format:
        session.console.document(text_of(found))
    else:
        session.console.result({"result": found.json()}, text_of(found))
    if found.first:
        raise found.first


def place_at(session: Session, subject: str, revision: str | None = None) -> Place:
    """Return a file of this machine as a place of its own, a folder, or a repository on the Hub.

    Raises:
        RecipeError: It is no name of a repository.
        SourceError: There is no such file, folder or repository.
    """
    from pipeline.source.layout import Folder

    if (path := Path(subject)).is_file():
        return Folder(path.parent, only=path.name)
    return session.source_at(subject, revision)


def text_of(found: Linted) -> str:
    """Return what was found as people read it."""
    parts = [str(fault) for fault in found.faults] + ["\n".join(lines_of(model)) for model in found.models]
    errors = sum(fault.level == "error" for fault in found.everything)
    warnings = len(found.everything) - errors
    counted = [
        f"{count} {word}{'s' * (count != 1)}" for count, word in ((errors, "error"), (warnings, "warning")) if count
    ]
    return "\n\n".join([*parts, ", ".join(counted) or "nothing is wrong with it"])


def lines_of(model: Examined) -> list[str]:
    """Return what was found of one model, a line each."""
    from pipeline.lint.faults import together, told

    lines = [f"{told(model.name)}: {told(model.title)}"]
    schemes = ", ".join(f"{count} {told(scheme)}" for scheme, count in model.schemes.items())
    lines.append(
        f"  {model.tensors} tensors, {human_size(model.size)}" + (f"; quantized: {schemes}" if schemes else "")
    )
    lines += [f"  read by {model.loaders}"] if model.loaders else []
    if model.layers:
        ordered = sorted(model.layers, key=lambda layer: layer.sqnr)
        middle, worst = ordered[len(ordered) // 2], ordered[:WORST]
        lines.append(
            f"  {len(ordered)} weights against the base: {worst[0].sqnr:.1f} dB at worst, {middle.sqnr:.1f} amid"
        )
        lines += [f"    {layer.sqnr:6.1f} dB  {told(layer.name)} ({told(layer.scheme)})" for layer in worst]
    told_of = together(model.faults)
    for fault, count in told_of[:SHOWN]:
        more = f" And {count - 1} more." if count > 1 else ""
        lines.append(f"  {fault.level}: {fault}{more} [{fault.rule}]")
    lines += [f"  and {len(told_of) - SHOWN} more kinds of faults"] if len(told_of) > SHOWN else []
    return lines
