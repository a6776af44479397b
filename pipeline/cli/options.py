"""The options and arguments that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe's YAML file.")]
Targets = Annotated[list[str] | None, typer.Option("--target", help="Only this target; may be given again.")]
HubName = Annotated[
    str, typer.Option("--hub", help="`local` (the embedded Hub), an address, or what HF_ENDPOINT names.")
]
Recipes = Annotated[
    list[Path] | None, typer.Argument(metavar="RECIPE", help="Recipes; all under recipes/ where none is named.")
]
Streamed = Annotated[
    bool, typer.Option("--stream", help="Quantize a source on a Hub as it comes; its weights are never stored.")
]
OutputFormat = Annotated[
    Literal["text", "github", "sarif", "json"] | None,
    typer.Option("--output-format", help="Who reads it: people, GitHub's annotations, code scanning, a program."),
]
