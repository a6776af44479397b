"""What a backend is given of a component, and the files that it makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Literal

from blake3 import blake3
from pydantic import BaseModel, ConfigDict

from pipeline.files import BuiltFile, files_under, hashed

CONFIG = "config.json"


@dataclass(frozen=True)
class Form:
    """In what files a component lies.

    Attributes:
        weights: Patterns of the files that hold weights, by their paths from the component's folder.
        config: Whether its config is written anew, and tells how the weights are quantized; else it stays the source's,
            and the files of weights themselves tell.
        rewrites: Further small files that are written anew, where the source has them.
        format: The format in which the stream writes it.
        single: Whether its weights are one file, whatever its size.
        joint: What stands between the parts of that file's name: the model's, the component's and the scheme's suffix.
        label: The function that says for the suffix which scheme a mix of several is called by, as ``module:name``; it
            is given scheme, options, and how many values each weight has.
    """

    weights: tuple[str, ...]
    config: bool = True
    rewrites: tuple[str, ...] = ()
    format: Literal["safetensors", "gguf"] = "safetensors"
    single: bool = False
    joint: str = ""
    label: str = ""

    def weights_in(self, folder: Path) -> list[str]:
        """Return the files of weights in a folder by their names in it, sorted."""
        found = {path for pattern in self.weights for path in folder.glob(pattern)}
        return sorted(path.relative_to(folder).as_posix() for path in found)


SAFETENSORS = Form(("*.safetensors",))


class Calibration(BaseModel):
    """What a component is asked while it is made, where ranges of its activations are part of what is saved.

    Attributes:
        by: The function that asks, as ``module:name``: a floor above the backends knows what a question is. It is
            called with a folder that holds the component, in the form that a consumer opens, and the request.
        request: The questions, and where their files lie.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: str
    request: dict[str, Any]

    def ask(self, folder: Path) -> None:
        """Have the component in a folder answer all questions."""
        resolve_name(self.by)(folder, self.request)


class BuildRequest(BaseModel):
    """One component to make.

    Attributes:
        backend: Whose configuration it is.
        library: The package whose ``from_pretrained`` loads the component.
        class_name: The component's class in that package.
        source: A folder with its config and weights, as ``save_pretrained`` names them.
        out: An empty folder for what is made.
        dtype: The dtype that ``from_pretrained`` is asked for.
        quantization: The ``quantization_config`` as a user would pass it.
        device: Where the library works: ``cpu`` or ``cuda``.
        calibration: What it is asked meanwhile, where the scheme is `calibrated`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: str
    library: Literal["diffusers", "transformers"]
    class_name: str
    source: Path
    out: Path
    dtype: str
    quantization: dict[str, Any]
    device: str = "cpu"
    calibration: Calibration | None = None


class Artifact(BaseModel):
    """The files that a backend made of one component, by their names in its folder.

    Attributes:
        files: Size and digest of each.
        weights: Those that hold weights.
        config: The one that tells how they are quantized.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: dict[str, BuiltFile]
    weights: tuple[str, ...]
    config: str = CONFIG


def artifact_in(folder: Path, form: Form = SAFETENSORS) -> Artifact:
    """Return all files of a folder as an artifact of a form."""
    files = {}
    for path in files_under(folder):
        (digest,) = hashed(path, blake3())
        files[path.relative_to(folder).as_posix()] = BuiltFile(size=path.stat().st_size, blake3=digest)
    return Artifact(files=files, weights=tuple(form.weights_in(folder)))
