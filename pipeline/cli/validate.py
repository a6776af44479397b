"""Validate: one folder or repository judged against another."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipeline.cli.console import Console
from pipeline.cli.context import Session
from pipeline.cli.options import HubName
from pipeline.errors import VerdictError

if TYPE_CHECKING:
    from pipeline.validate import Report

Dtype = Literal["bfloat16", "float16", "float32"]


def validate(
    ctx: typer.Context,
    checkpoint: Annotated[
        str,
        typer.Argument(metavar="CHECKPOINT", help="What is judged: a folder, a repository, or a graph of ONNX alone."),
    ],
    *,
    reference: Annotated[str, typer.Option("--reference", help="A folder or a repository: what it is judged against.")],
    recipe: Annotated[Path, typer.Option("--recipe", help="The recipe whose questions and limits are used.")],
    out: Annotated[Path, typer.Option("--out", help="The folder for the report, its page and the answers.")],
    dtype: Annotated[Dtype, typer.Option("--dtype", help="The type of what is not quantized.")] = "bfloat16",
    hub: HubName = "",
) -> None:
    """Judge one folder or repository against another; nothing is made and nothing published."""
    session: Session = ctx.obj
    from pipeline.verify.folder import PAGE, FolderValidation, is_graph

    with session.engine(recipe, hub) as engine:
        court = FolderValidation(engine, session.source_at(reference), dtype)
        with court.with_graph(Path(checkpoint)) if is_graph(checkpoint) else nullcontext() as made:
            report = court.judge(made or session.source_at(checkpoint), out.absolute())
    show_judged(session.console, report, out / PAGE)
    if report.verdict != "PASS":
        raise typer.Exit(VerdictError.exit_code)


def show_judged(console: Console, report: Report, page: Path) -> None:
    """Show a verdict, why, and where its page is."""
    said = report.model_dump(mode="json", include={"verdict", "reasons"})
    lines = [f"{report.verdict}: {page}", *(f"  {reason.verdict:12} {reason.text}" for reason in report.reasons)]
    console.result({"result": {**said, "out": str(page.parent), "page": str(page)}}, "\n".join(lines))
