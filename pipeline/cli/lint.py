"""Lint: anybody's quantized file or repository, held against its format and its base."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.context import Session
from pipeline.cli.options import HubName, OutputFormat
from pipeline.errors import RecipeError, SourceError
from pipeline.files import human_size

if TYPE_CHECKING:
    from pipeline.hub.client import Hub
    from pipeline.lint import Examined, Linted
    from pipeline.lint.spelled import Spelled
    from pipeline.lint.subject import Subject
    from pipeline.source.layout import Place

SHOWN = 20  # kinds of faults of a model
WORST = 5  # layers, where there is a base


def lint(
    ctx: typer.Context,
    subject: Annotated[str, typer.Argument(metavar="FILE|REPO", help="A file, a folder, a repository or REPO/PATH.")],
    *,
    base: Annotated[str, typer.Option("--base", help="What it was made of, likewise.")] = "",
    revision: Annotated[str | None, typer.Option("--revision", help="A commit, branch or tag; default main.")] = None,
    headers: Annotated[bool, typer.Option("--headers", help="Read headers and markers only, and no weights.")] = False,
    hub: HubName = "",
    output_format: OutputFormat = None,
) -> None:
    """Say of anybody's quantized file or repository whether it is what it says; without a GPU or a recipe."""
    session: Session = ctx.obj
    from pipeline.cli.annotations import as_github, as_sarif
    from pipeline.hub.client import Hub
    from pipeline.lint import lint as look
    from pipeline.lint.faults import RULES

    with session.console, session.hub(session.home(), hub) as target:
        place = place_at(session, [target], subject, revision)
        of = place_at(session, [target, Hub(listen=session.console.listen)], base) if base else None
        found = look(
            place, of, values=not headers, spell=partial(spelled, session.home()), listen=session.console.listen
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


def place_at(session: Session, hubs: Sequence[Hub], subject: str, revision: str | None = None) -> Place:
    """Return a file of this machine, a folder, a repository on the first Hub that has it, or a file or folder of that.

    Raises:
        RecipeError: It is no name of a repository, or a revision is told of what has none.
        SourceError: There is no such file, folder or repository.
    """
    from pipeline.lint.contents import CONTAINERS
    from pipeline.lint.within import Within, beside
    from pipeline.recipe.addresses import read_path
    from pipeline.recipe.names import is_path
    from pipeline.source.layout import Folder

    path = Path(subject)
    if (here := bool(subject) and (path.exists() or is_path(subject))) and revision:
        raise RecipeError("What is on this machine has no revision.", where=subject, remedy="Leave --revision out.")
    if here and path.exists() and not path.is_dir():
        return Within(beside(path), path.name)
    if here:
        return Folder(path, torn=True)
    if path.suffix in CONTAINERS and path.name == subject:
        remedy = "Correct its name; a file of a repository is named as namespace/name/path."
        raise SourceError("There is no such file.", where=subject, remedy=remedy)
    repo, inside = read_path(subject)
    place = session.source_at(repo, revision, hubs)
    return Within(place, inside) if inside else place


def spelled(home: Path, base: Subject) -> Spelled:
    """Return what a model is called in files of its family, as the installed diffusers says; of transformers, in GGUF.

    Args:
        home: The folder whose ``answers`` keep what diffusers said.
        base: The model.

    Raises:
        PublishError: It has no such names, or the library is not installed.
    """
    from pipeline.backends.gguf.llama_cpp import tensors_of
    from pipeline.backends.oracle.single_file import SingleFileRequest, ask_single_file
    from pipeline.lint.faults import told

    shapes, config = {name: tensor.shape for name, tensor in base.tensors.items()}, dict(base.config)
    if class_name := config.get("_class_name"):
        question = SingleFileRequest(class_name=told(str(class_name)), config=config, shapes=shapes)
        return ask_single_file(question, home / "answers", base.name).tensors
    match config.get("architectures"):
        case [str(name), *_]:
            return tensors_of(told(name), config, shapes)
    raise SourceError("Its config names no class in `architectures`.", where=base.name)


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
