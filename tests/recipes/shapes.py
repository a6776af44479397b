"""Asks the installed libraries for the tensors and the config of each component, on the meta device.

Run as a process of its own, because it imports torch: ``python -m tests.recipes.shapes`` reads a JSON list of
``[repository, shallow]`` from stdin and answers with ``{component: {"config", "tensors"}}`` for each.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from tests.recipes.families import FAMILIES, Part


def described(part: Part, *, shallow: bool) -> dict[str, Any]:
    """Return a component's config, and dtype and shape of what is saved of it by the names in its files."""
    import torch

    wanted = merged(part.config, part.shallow) if shallow else part.config
    with torch.device("meta"):
        model, config = BUILT[part.name[0]](part.name[1], wanted)
    saved = model.state_dict().keys()
    parameters = model.named_parameters()  # without those that are tied to one before
    tensors = [*parameters, *(pair for pair in model.named_buffers() if pair[0] in saved)]
    shapes = {in_files(name, part): [str(value.dtype), list(value.shape)] for name, value in tensors}
    return {"config": json.loads(config), "tensors": shapes}


def by_diffusers(name: str, config: Mapping[str, Any]) -> tuple[Any, str]:
    """Build a model of diffusers, and return it with its config's text."""
    import diffusers

    model = getattr(diffusers, name)(**config)
    return model, model.to_json_string()


def by_transformers(name: str, config: Mapping[str, Any]) -> tuple[Any, str]:
    """Build a model of transformers, and return it with its config's text."""
    import transformers

    kind = getattr(transformers, name)
    model = kind(kind.config_class(**config, architectures=[name]))
    return model, model.config.to_json_string()


BUILT = {"diffusers": by_diffusers, "transformers": by_transformers}


def merged(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with some of its values changed, those of configs inside it as well."""
    return {
        **config,
        **{name: merged(config[name], value) if isinstance(value, dict) else value for name, value in changes.items()},
    }


def in_files(name: str, part: Part) -> str:
    """Return what a tensor is called in the files."""
    for inside, outside in part.renamed:
        if name.startswith(inside):
            return outside + name.removeprefix(inside)
    return name


if __name__ == "__main__":
    asked = [(FAMILIES[repository].parts, shallow) for repository, shallow in json.load(sys.stdin)]
    said = [{name: described(part, shallow=shallow) for name, part in parts.items()} for parts, shallow in asked]
    json.dump(said, sys.stdout)
