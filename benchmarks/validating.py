"""What a verdict costs beside the pictures it needs: `publish validate` against the bare calls of both pipelines."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

HERE = Path(__file__).parent
DIGITS = HERE.parent / "recipes" / "digits"
TARGET = "torchao-int8"


@dataclass(frozen=True)
class Trial:
    """A recipe with its source and a checkpoint that was made of it."""

    folder: Path
    steps: int

    @property
    def recipe(self) -> Path:
        return self.folder / f"digits-{self.steps}.yaml"

    @property
    def home(self) -> Path:
        return self.folder / f"home-{self.steps}"

    @property
    def checkpoint(self) -> Path:
        return next((self.home / "store" / "checkpoint").iterdir())

    def make(self, publish: list[str]) -> None:
        """Write the recipe and make its checkpoint, unless that was done."""
        self.folder.mkdir(parents=True, exist_ok=True)
        written = YAML(typ="safe").load(DIGITS / "recipe.yaml")
        written |= {"source": {"path": str(DIGITS / "source")}}
        written["validation"]["prompts"] = "prompts.jsonl"
        written["validation"]["call"]["num_inference_steps"] = self.steps
        written["validation"]["require"]["clip_score"]["model"] = str(DIGITS / "clip")
        written["validation"]["require"]["label_accuracy"]["model"] = str(DIGITS / "classifier")
        shutil.copy(DIGITS / "prompts.jsonl", self.folder)
        YAML().dump(written, self.recipe)
        stop = ["--target", TARGET, "--stop-after", "quantize", "--hub", "local", "--home", str(self.home)]
        subprocess.run([*publish, "run", str(self.recipe), *stop], check=True)

    def judged(self, publish: list[str], out: Path) -> list[str]:
        """Return the command that draws and judges."""
        sides = [str(self.checkpoint), "--reference", str(DIGITS / "source"), "--recipe", str(self.recipe)]
        return [*publish, "validate", *sides, "--out", str(out), "--hub", "local", "--home", str(self.home)]

    def bare(self) -> list[str]:
        """Return the command that only draws, with each pipeline in a fresh process."""
        call = f'"{sys.executable}" "{HERE / "by_pipeline.py"}" "{self.recipe}"'
        return ["sh", "-c", f'{call} "{DIGITS / "source"}" && {call} "{self.checkpoint}"']

    def forget(self) -> Callable[[], None]:
        """Return what forgets the source's answers."""
        return lambda: shutil.rmtree(self.home / "store" / "reference", ignore_errors=True)
