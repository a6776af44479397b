"""The bare calls: load a pipeline, draw a recipe's prompts. Arguments: recipe, pipeline."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from ruamel.yaml import YAML

recipe, model = Path(sys.argv[1]), sys.argv[2]
asked = YAML(typ="safe").load(recipe)["validation"]
prompts = [json.loads(line)["prompt"] for line in (recipe.parent / asked["prompts"]).read_text().splitlines()]
pipe = DiffusionPipeline.from_pretrained(model, dtype=torch.bfloat16)
pipe.set_progress_bar_config(disable=True)
for prompt in prompts:
    for seed in asked["seeds"]:
        pipe(prompt=prompt, generator=torch.Generator("cpu").manual_seed(seed), **asked["call"])
