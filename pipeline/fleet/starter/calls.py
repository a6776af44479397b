"""Calls: what diffusers' pipelines are for and how they are called unless said otherwise, read from its source text.

Importing diffusers would import torch, which takes seconds and a gigabyte; nothing of it is run here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

MAPPINGS: Final = {  # tasks whose pipelines auto_pipeline.py lists by family, the likeliest first
    "AUTO_TEXT2IMAGE_PIPELINES_MAPPING": "text-to-image",
    "AUTO_TEXT2VIDEO_PIPELINES_MAPPING": "text-to-video",
    "AUTO_IMAGE2IMAGE_PIPELINES_MAPPING": "image-to-image",
    "AUTO_INPAINT_PIPELINES_MAPPING": "inpainting",
}
SETTINGS: Final = ("num_inference_steps", "guidance_scale", "strength", "height", "width", "num_frames")
GIVEN: Final = re.compile(r"(?!ip_adapter)(.*_)?(images?|videos?)$|audio")  # arguments of who takes more than a text

Setting = int | float


def tasks_of(pipeline: str) -> list[str]:
    """Return what a class of pipelines may be for, the likeliest first; nothing where diffusers is not installed."""
    listed = [task for task, classes in families().items() if pipeline in classes.values()]
    taken = arguments(pipeline)
    if listed or "prompt" not in taken:
        return listed
    if any(GIVEN.match(name) for name in taken):
        return []
    return ["text-to-video" if "num_frames" in taken else "text-to-image"]


def caller(task: str, pipeline: str) -> str:
    """Return the class that a task's loader makes of a source that names a class, which is that one by default."""
    families_of_it = [family for classes in families().values() for family, name in classes.items() if name == pipeline]
    own = families().get(task, {})
    return next((own[family] for family in families_of_it if family in own), pipeline)


def defaults(pipeline: str) -> dict[str, Setting]:
    """Return the settings of a class's call that are numbers unless said otherwise."""
    known = arguments(pipeline)
    return {name: value for name in SETTINGS if (value := known.get(name)) is not None}


@cache
def families() -> Mapping[str, Mapping[str, str]]:
    """Return the classes of each task by their family, as the Auto classes of diffusers list them."""
    folder = pipelines_folder()
    tree = ast.parse((folder / "auto_pipeline.py").read_text(encoding="utf-8")) if folder else ast.Module([], [])
    found: dict[str, dict[str, str]] = {task: {} for task in MAPPINGS.values()}
    for node in ast.walk(tree):
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(node, ast.Assign) and isinstance(target, ast.Name) and target.id in MAPPINGS:
            pairs = [pair.elts for pair in ast.walk(node.value) if isinstance(pair, ast.Tuple)]
            found[MAPPINGS[target.id]] |= {ast.literal_eval(family): ast.unparse(kind) for family, kind in pairs}
        if isinstance(node, ast.Assign) and isinstance(target, ast.Subscript):  # of what more has to be installed for
            classes = found.get(MAPPINGS.get(ast.unparse(target.value), ""), {})
            classes[ast.unparse(target.slice).strip("'")] = ast.unparse(node.value)
    return found


@cache
def arguments(pipeline: str) -> Mapping[str, Setting | None]:
    """Return the arguments of a class's call with their defaults, None where that is no number."""
    kind = class_of(pipeline)
    for node in kind.body if kind else ():
        if isinstance(node, ast.FunctionDef) and node.name == "__call__":
            names = [each.arg for each in node.args.args]
            said = [number(value) for value in node.args.defaults]
            return dict(zip(names, [*[None] * (len(names) - len(said)), *said], strict=True))
    return {}


@cache
def sample_size(pipeline: str) -> int | None:
    """Return the height and width of what a class draws in latents, where its text has it as a number."""
    kind = class_of(pipeline)
    for node in ast.walk(kind) if kind else ():
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "self.default_sample_size":
            found = number(node.value)
            return int(found) if found else None
    return None


@cache
def class_of(pipeline: str) -> ast.ClassDef | None:
    """Return the text of a class of pipelines."""
    for text in texts():
        if re.search(rf"^class {re.escape(pipeline)}\b", text, re.MULTILINE):
            kinds = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
            return next(node for node in kinds if node.name == pipeline)
    return None


def texts() -> Iterator[str]:
    """Yield the text of every module of pipelines."""
    folder = pipelines_folder()
    for path in sorted(folder.rglob("pipeline_*.py")) if folder else ():
        yield path.read_text(encoding="utf-8")


def pipelines_folder() -> Path | None:
    """Return where the pipelines of diffusers lie; None where it is not installed."""
    found = find_spec("diffusers")
    places = found.submodule_search_locations if found else None
    return Path(places[0]) / "pipelines" if places else None


def number(node: ast.expr) -> Setting | None:
    """Return what an expression says, if that is a number."""
    value = node.value if isinstance(node, ast.Constant) else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
