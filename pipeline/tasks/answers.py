"""What a model is asked and what it answered: values that travel between processes and into the report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from pipeline.recipe.clause import Dtype
from pipeline.recipe.prompts import Question


class Request(BaseModel):
    """The same questions for the source and for every candidate.

    Attributes:
        task: The task, by its name in a recipe.
        questions: What is asked, with every seed.
        seeds: Seeds of ``torch.Generator("cpu")``, whose noise is the same on every machine.
        call: Further arguments of the call, such as ``num_inference_steps``.
        dtype: The dtype of everything that is not quantized.
        folder: Where the files of the questions lie, which is no part of what is asked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    questions: tuple[Question, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(min_length=1)
    call: Mapping[str, JsonValue] = {}
    dtype: Dtype = "bfloat16"
    folder: Path | None = Field(default=None, exclude=True)

    def file(self, question: int, role: str) -> Path:
        """Return where a file of a question lies."""
        return (self.folder or Path()) / self.questions[question].files[role]

    def only(self, questions: int, seeds: int) -> Request:
        """Return the same request with no more than its first questions and seeds."""
        return self.model_copy(update={"questions": self.questions[:questions], "seeds": self.seeds[:seeds]})

    def job(self) -> dict[str, JsonValue]:
        """Return it as a child process is told of it."""
        return self.model_dump(mode="json") | {"folder": str(self.folder.resolve()) if self.folder else None}


class Answer(BaseModel):
    """One answer.

    Attributes:
        prompt: Index into the request's questions.
        seed: The seed it was made with.
        file: Name of its file in the answers' folder.
        sha256: The file's digest as 64 hex digits.
        fault: What was seen to be wrong with it when it was made, as the end of the sentence "it is ..."; empty for
            nothing.
        besides: Names of further files of it, by what they hold, such as ``latents`` (``.npy``, float32).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: int
    seed: int
    file: str
    sha256: str
    fault: str = ""
    besides: dict[str, str] = {}

    def moved(self, folder: str) -> Answer:
        """Return the same answer with its files in a folder further down."""
        besides = {name: f"{folder}/{file}" for name, file in self.besides.items()}
        return self.model_copy(update={"file": f"{folder}/{self.file}", "besides": besides})


class Facts(BaseModel):
    """How the answers came about.

    Attributes:
        device: ``cpu``, or ``cuda`` and the name of the GPU.
        how: One sentence on how the model was loaded; a card repeats it.
        load_seconds: From the call of ``from_pretrained`` until the model was on its device.
        seconds_per_call: For every answer in the order made; the first one includes warming up.
        peak_memory_bytes: Most resident host memory of the process, libraries and mapped weights included.
        peak_device_bytes: Most memory that torch allocated on the GPU; none without one.
        versions: Distribution name to version, of Python and the libraries that took part.
        processor: The processor's name, such as ``AMD EPYC 7763``; empty in older reports.
        cores: How many it has.
        threads: How many torch computed with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    device: str
    how: str
    load_seconds: float
    seconds_per_call: tuple[float, ...]
    peak_memory_bytes: int
    peak_device_bytes: int | None
    versions: dict[str, str]
    processor: str = ""
    cores: int | None = None
    threads: int | None = None

    @property
    def machine(self) -> str:
        """The machine in words, as far as it decides how long a call takes."""
        of = f" on {self.processor} ({self.cores} cores, {self.threads} threads)" if self.processor else ""
        return f"{self.device}{of}"


class Answers(Facts):
    """Facts and the answers themselves, ordered by question, then seed.

    Attributes:
        task: The task, by its name in a recipe.
        given: One a question and seed.
        repeated: Some of them made once more with everything varied that ought not to matter.
        varied: What that was; empty where nothing was repeated.
        configs: The config of each component as loaded, with its class.
        files: SHA-256 of the small files beside the weights, such as vocabularies, by their paths.
    """

    task: str
    given: tuple[Answer, ...]
    repeated: tuple[Answer, ...] = ()
    varied: str = ""
    configs: dict[str, dict[str, JsonValue]] = {}
    files: dict[str, str] = {}
