"""Quantize: one folder or repository, without a recipe and without a Hub to publish to."""

from __future__ import annotations

import json as jsons
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pipeline.cli.console import Console
from pipeline.cli.context import Session
from pipeline.cli.options import Streamed
from pipeline.files import human_size

Device = Literal["cpu", "cuda"]


def quantize(
    ctx: typer.Context,
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A folder or a repository: a pipeline or a component.")
    ],
    *,
    out: Annotated[Path, typer.Option("--out", help="The folder to make.")],
    backend: Annotated[str, typer.Option("--backend", help="The quantization library.")],
    scheme: Annotated[str, typer.Option("--scheme", help="What it is asked to do.")],
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="K=V", help="An option of the scheme.")
    ] = None,
    component: Annotated[list[str] | None, typer.Option("--component", help="Quantize this one; repeatable.")] = None,
    keep: Annotated[list[str] | None, typer.Option("--keep", help="Modules to leave as they are; repeatable.")] = None,
    dtype: Annotated[
        str, typer.Option("--dtype", help="The type of what is not quantized; bfloat16, or the only one of a scheme.")
    ] = "",
    variant: Annotated[str | None, typer.Option("--variant", help="Read the source's files of this variant.")] = None,
    device: Annotated[Device, typer.Option("--device", help="Where the library packs.")] = "cpu",
    revision: Annotated[
        str | None, typer.Option("--revision", help="The commit of a repository; main where none is named.")
    ] = None,
    stream: Streamed = False,
) -> None:
    """Quantize one folder or repository, without a recipe and without publishing."""
    session: Session = ctx.obj
    from pipeline.backends import SCHEMES
    from pipeline.quantize.folder import QuantizeRequest, quantize_source
    from pipeline.recipe import Vocabulary, read_quantization
    from pipeline.source.layout import read_source

    words = {"backend": backend, "scheme": scheme} | ({"dtype": dtype} if dtype else {})
    lines = [f"{key}: {value}" for key, value in words.items()]
    lines += [f"{key}: {value}" for key, _, value in (text.partition("=") for text in option or ())]
    lines += ["keep:", *(f"  - {jsons.dumps(pattern)}" for pattern in keep)] if keep else []
    quantization = read_quantization("\n".join(lines), Vocabulary(SCHEMES))
    order = QuantizeRequest(quantization, tuple(component or ()), device, stream)
    with session.console:
        place = session.source_at(source, revision)
        made = quantize_source(
            place, read_source(place, variant), order, out.absolute(), session.home(), session.console.listen
        )
    session.console.result({"result": made}, "")
    if session.console.mode != "json":
        show_quantized(session.console, made)


def show_quantized(console: Console, made: dict[str, Any]) -> None:
    """Show people what was made and how much of the signal is left."""
    rows = []
    for name, part in made["components"].items():
        found = sorted(value for value in part["sqnr"].values() if value is not None)
        shown = f"{found[0]:.1f} dB" if found else ""
        middle = f"{found[len(found) // 2]:.1f} dB" if found else ""
        rows.append([name, str(len(part["sqnr"])), shown, middle])
    sizes = f"{human_size(made['source_bytes'])} → {human_size(made['result_bytes'])}"
    title = f"{made['out']} ({sizes}, {made['seconds']:.1f} s)"
    console.table(title, ["component", "weights", "least SQNR", "median"], rows)
