"""How a defect gets into a checkpoint: into a copy that shares every file with it but those that are changed.

A strength says how far: at 1 what is changed becomes all that the change makes of it, below 1 a number moves that share
of the way and codes take on their new values in the square of that share of places. Either way the relative error of
what is computed grows with the strength.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Tensors = dict[str, Any]
Change = Callable[[Tensors], Tensors]  # from all tensors of a file to those that change
Spoil = Callable[[Path, float], None]


def copied(checkpoint: Path, to: Path) -> Path:
    """Return a copy of hard links."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(checkpoint, to, copy_function=os.link)
    return to


def weights(component: str, *changes: Change) -> Spoil:
    """Return what changes tensors of a component."""

    def spoil(folder: Path, strength: float) -> None:
        with tensors(folder / component) as held:
            for change in changes:
                held |= {name: toward(held.get(name), new, strength) for name, new in change(held).items()}

    return spoil


def setting(file: str, **values: Any) -> Spoil:
    """Return what sets keys of a JSON file."""

    def spoil(folder: Path, strength: float) -> None:
        with document(folder / file) as held:
            held |= {key: toward(held.get(key), value, strength) for key, value in values.items()}

    return spoil


def toward(old: Any, new: Any, strength: float) -> Any:
    """Return a value that has gone so much of the way; text, booleans and other shapes go all of it."""
    import torch

    if strength == 1:
        return new
    if isinstance(new, torch.Tensor):
        if old is None or old.shape != new.shape:
            return new
        if new.is_floating_point():
            return (old.float() + strength * (new.float() - old.float())).to(old.dtype)
        places = torch.rand(old.shape, generator=torch.Generator().manual_seed(0)) < strength**2
        return torch.where(places, new, old)
    whole = isinstance(new, bool) or not isinstance(new, float) or not isinstance(old, float)
    return new if whole else old + strength * (new - old)


@contextmanager
def tensors(component: Path) -> Iterator[Tensors]:
    """Hand out a component's tensors and write back what became of them."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    (file,) = component.glob("*.safetensors")
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
        held = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
    yield held
    file.unlink()  # the honest checkpoint keeps the old file under its own name
    save_file({name: tensor.clone().contiguous() for name, tensor in held.items()}, file, metadata)


@contextmanager
def document(file: Path) -> Iterator[dict[str, Any]]:
    """Hand out a JSON document and write back what became of it."""
    held = json.loads(file.read_text())
    yield held
    file.unlink()
    file.write_text(json.dumps(held, indent=2))
