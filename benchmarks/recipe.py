"""A pipeline with nothing but a synthetic transformer, and a recipe of four targets for it."""

from __future__ import annotations

import json
from pathlib import Path

RECIPE = """source: {path: pipeline}
task: text-to-image
destination: {namespace: bench}
targets:
  bnb-nf4: {transformer: {backend: bitsandbytes, scheme: nf4}}
  bnb-int8: {transformer: {backend: bitsandbytes, scheme: int8}}
  torchao-int8: {transformer: {backend: torchao, scheme: int8-weight-only}}
  quanto-int8: {transformer: {backend: quanto, scheme: int8}}
validation:
  prompts: prompts.jsonl
  seeds: [0]
  require: {size_ratio: {max: 1}}
card: {template: text-to-image}
"""


def write_pipeline(folder: Path, transformer: Path) -> None:
    """Write ``recipe.yaml`` and its source; the weights are links to those of a transformer that is there."""
    target = folder / "pipeline" / "transformer"
    if not target.exists():
        target.mkdir(parents=True)
        for path in transformer.iterdir():
            (target / path.name).hardlink_to(path)
        index = {"_class_name": "FluxPipeline", "transformer": ["diffusers", "FluxTransformer2DModel"]}
        (folder / "pipeline" / "model_index.json").write_text(json.dumps(index))
        (folder / "prompts.jsonl").write_text('{"prompt": "a picture"}\n')
        (folder / "recipe.yaml").write_text(RECIPE)
