"""What a pipeline is asked and what it answered: values that travel between processes and into the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

Dtype = Literal["bfloat16", "float16", "float32"]
OURS = frozenset({"prompt", "generator", "output_type", "return_dict"})  # arguments of a call that the generation sets


class Request(BaseModel):
    """The same questions for the source and for every candidate.

    Attributes:
        prompts: What to draw, one picture for every prompt and seed.
        seeds: Seeds of ``torch.Generator("cpu")``, whose noise is the same on every machine.
        call: Further arguments of the pipeline's call, such as ``num_inference_steps``.
        dtype: The dtype of everything that is not quantized.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompts: tuple[str, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(min_length=1)
    call: Mapping[str, JsonValue] = {}
    dtype: Dtype = "bfloat16"

    @field_validator("call")
    @classmethod
    def _leaves_ours_alone(cls, call: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        if taken := sorted(OURS & call.keys()):
            raise ValueError(f"{', '.join(taken)} is set for every call by the validation itself")
        return call


class GeneratedImage(BaseModel):
    """One answer.

    Attributes:
        prompt: Index into the request's prompts.
        seed: The seed it was drawn with.
        file: Name of the PNG file in the answers' folder.
        sha256: The file's digest as 64 hex digits.
        not_numbers: Values the pipeline returned as NaN or infinite; the PNG holds them as black.
        blocked: Whether the pipeline's own safety checker replaced it.
        latents: Name of the file with the last latents before they were decoded (``.npy``, float32), where the pipeline
            lets them be seen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: int
    seed: int
    file: str
    sha256: str
    not_numbers: int = 0
    blocked: bool = False
    latents: str | None = None

    def moved(self, folder: str) -> GeneratedImage:
        """Return the same answer with its files in a folder further down."""
        latents = f"{folder}/{self.latents}" if self.latents else None
        return self.model_copy(update={"file": f"{folder}/{self.file}", "latents": latents})


class Facts(BaseModel):
    """How the answers came about.

    Attributes:
        device: ``cpu``, or ``cuda`` and the name of the GPU.
        how: One sentence on how the pipeline was loaded; a card repeats it.
        load_seconds: From the call of ``from_pretrained`` until the pipeline was on its device.
        seconds_per_call: For every picture in the order drawn; the first one includes warming up.
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
    """Facts and the pictures themselves, ordered by prompt, then seed.

    Attributes:
        pictures: One a prompt and seed.
        repeated: Some of them drawn once more with everything varied that ought not to matter.
        varied: What that was; empty where nothing was repeated.
        configs: The config of each component as loaded, with its class.
        files: SHA-256 of the small files beside the weights, such as vocabularies, by their paths.
    """

    pictures: tuple[GeneratedImage, ...]
    repeated: tuple[GeneratedImage, ...] = ()
    varied: str = ""
    configs: dict[str, dict[str, JsonValue]] = {}
    files: dict[str, str] = {}
