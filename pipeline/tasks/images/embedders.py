"""Models that look at pictures: each comes from its folder alone, is opened once, and looks at each picture once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.errors import RecipeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    Vector = NDArray[np.float64]

T = TypeVar("T")
ImageEmbedder = Callable[["Image.Image"], "Vector"]


@dataclass(frozen=True)
class Clip:
    """A model that embeds pictures and prompts in one space."""

    picture: ImageEmbedder
    prompt: Callable[[str], Vector]


@lru_cache(maxsize=2)  # clip_score and clip_similarity may each name one
def open_clip(folder: Path) -> Clip:
    """Open a CLIP model with its processor, as ``openai/clip-vit-large-patch14`` has them.

    A prompt is cut to the model's length.

    Raises:
        RecipeError: There is no CLIP model in the folder.
    """
    clip = load_model("AutoModel", folder, "CLIP", ("clip",))
    pixels, tokenizer = pixels_of(folder, "CLIP"), _part("AutoTokenizer", folder, "CLIP")
    length = clip.config.text_config.max_position_embeddings

    def read(prompt: str) -> Any:
        tokens = tokenizer(text=[prompt], return_tensors="pt", truncation=True, max_length=length)
        return clip.get_text_features(**tokens).pooler_output[0]

    def look(picture: Image.Image) -> Any:
        return clip.get_image_features(**pixels(picture)).pooler_output[0]

    return Clip(once(lambda picture: _unit(look, picture)), cache(lambda prompt: _unit(read, prompt)))


@lru_cache(maxsize=1)
def open_dino(folder: Path) -> ImageEmbedder:
    """Open a DINOv2 model with its processor, as ``facebook/dinov2-base`` has them.

    A picture is embedded as the model's class token after the last layer norm.

    Raises:
        RecipeError: There is no DINOv2 model in the folder.
    """
    dino = load_model("AutoModel", folder, "DINOv2", ("dinov2", "dinov2_with_registers"))
    pixels = pixels_of(folder, "DINOv2")
    return once(lambda picture: _unit(lambda one: dino(**pixels(one)).last_hidden_state[0, 0], picture))


def cosine(one: Vector, other: Vector) -> float:
    """Return the cosine of two unit vectors."""
    return min(max(float(one @ other), -1.0), 1.0)


def once(look: Callable[[Image.Image], T]) -> Callable[[Image.Image], T]:
    """Return a function that remembers the pictures it has seen.

    Several metrics ask for the same ones, and every target is compared with the same ones of the source. They go
    through the model one at a time: in a batch the seventh digit depends on the neighbours, and pictures that are the
    same must be found the same.
    """
    seen: dict[tuple[tuple[int, int], bytes], T] = {}

    def recall(picture: Image.Image) -> T:
        key = picture.size, hashlib.sha256(picture.tobytes()).digest()
        if key not in seen:
            seen[key] = look(picture)
        return seen[key]

    return recall


def _unit(embed: Callable[[Any], Any], what: Any) -> Vector:
    """Embed a picture or a prompt and scale the vector to length 1."""
    import numpy as np
    import torch

    with torch.inference_mode():
        vector: Vector = embed(what).double().numpy()
    return vector / np.linalg.norm(vector)


def load_model(name: str, folder: Path, called: str, kinds: Container[str]) -> Any:
    """Load a model of one of these kinds in float32: its own rounding has no place in the comparison.

    A weight that its files do not have would be drawn at random, and the model would judge all the same.

    Args:
        name: The class of transformers that loads it.
        folder: The model.
        called: What people call such a model.
        kinds: Words for ``model_type`` in its ``config.json``.

    Raises:
        RecipeError: There is no such model in the folder.
    """
    import torch
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # the console alone speaks to people
    kind = _part("AutoConfig", folder, called).model_type
    if kind not in kinds:
        raise _unfit(folder, called, f"its config.json says that it is a {kind} model")
    model, loading = _part(name, folder, called, dtype=torch.float32, use_safetensors=True, output_loading_info=True)
    if missing := sorted(loading["missing_keys"]):
        raise _unfit(folder, called, f"its weights lack {missing[0]}")
    return model.eval()


def pixels_of(folder: Path, called: str) -> Callable[[Image.Image], Any]:
    """Return what makes a model's input of a picture.

    By Pillow everywhere: with torchvision beside it transformers 5 would scale pictures by that, and the same recipe
    would have other numbers.
    """
    processor = _part("AutoImageProcessor", folder, called, backend="pil")
    return lambda picture: processor([picture.convert("RGB")], return_tensors="pt")


def _part(name: str, folder: Path, called: str, **how: Any) -> Any:
    """Load a part of a model by a class of transformers, from nowhere but its folder and without code of its own."""
    import transformers
    from safetensors import SafetensorError

    try:
        kind = getattr(transformers, name)
        return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **how)
    except (ImportError, OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise _unfit(folder, called, str(error)) from error


def _unfit(folder: Path, called: str, why: str) -> RecipeError:
    return RecipeError(
        f"There is no {called} model that can be loaded: {why.rstrip('.')}.",
        where=str(folder),
        remedy="Name one with its processor under validation.require.",
    )
