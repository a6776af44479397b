"""The process that tries: load a pipeline as its users do, do with it what they do next, tell the parent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.tasks.answers import Request
from pipeline.tasks.diffusers_pipeline import device_of, load
from pipeline.validate.compatibility.asking import Tried
from pipeline.validate.consumer import Drawn, draw
from pipeline.worker.io import Tell, only_job, private_stdout

LONGEST = 400  # characters of what a library raised


@dataclass
class Trial:
    """A loaded pipeline and the questions that it is asked.

    Attributes:
        job: What is tried.
        pipe: The pipeline.
        how: How it was loaded.
        request: The questions.
        out: Where answers go.
        tell: Tells the parent.
        total: How many pictures are drawn in all.
        drawn: How many have been.
    """

    job: dict[str, Any]
    pipe: Any
    how: str
    request: Request
    out: Path
    tell: Tell
    total: int = 0
    drawn: int = 0

    def draw(self, prompt: str) -> Drawn:
        """Draw one picture."""
        found = draw(self.pipe, prompt, self.request.seeds[0], self.request.call)
        self.drawn += 1
        self.tell({"drawn": [self.drawn, self.total]})
        return found

    def said(self, **found: Any) -> Tried:
        """Return what is told at the end."""
        return Tried(device=device_of(self.pipe), how=self.how, **found)


def main() -> None:
    """Do the one job that stdin carries."""
    from pipeline.validate.compatibility.compiling import compile_and_draw
    from pipeline.validate.compatibility.loading_lora import load_and_draw

    kinds: dict[str, Callable[[Trial], Tried]] = {"lora": load_and_draw, "compile": compile_and_draw}
    tell, job = private_stdout(), only_job()
    request = Request.model_validate(job["request"])
    pipe, how = load(Path(job["model"]), request.dtype)
    pipe.set_progress_bar_config(disable=True)
    said = kinds[job["use"]](Trial(job, pipe, how, request, Path(job["out"]), tell))
    tell({"tried": said.model_dump(mode="json")})


def words_of(error: BaseException) -> str:
    """Return the class of what a library raised and the first lines of what it said, in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:LONGEST]}{'...' if len(text) > LONGEST else ''}"


if __name__ == "__main__":
    main()
