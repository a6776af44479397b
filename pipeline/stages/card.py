"""Card: the README and the publish/ folder of a repository, rendered from plan and report alone.

Every number in a card is looked up; a variable without a value is an error, and so is source text that would be read
as something other than text.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files as resources
from pathlib import Path
from statistics import median
from typing import Any, Final

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.backends import BACKENDS
from pipeline.errors import CardError, SourceError
from pipeline.files import (
    FileEntry,
    Manifest,
    digest_of,
    empty,
    files_under,
    human_size,
    link_or_copy,
    manifest_of,
    pretty_json,
    write_atomically,
)
from pipeline.plan import PlannedComponent, TargetPlan
from pipeline.provenance import state
from pipeline.published import MANIFEST, PICTURE, PLAN, PROVENANCE, RECIPE, REPORT, USAGE
from pipeline.quality.sheet import grid
from pipeline.stages.quantize import MEASURED, measured
from pipeline.stages.validate import Judged, pipeline_dtype
from pipeline.store import Store

COLUMNS: Final = 6  # prompts shown in the card's picture
LICENSE_KEYS: Final = ("license", "license_name", "license_link")
REPEATED: Final = (*LICENSE_KEYS, "language", "pipeline_tag")
LARGEST_METADATA: Final = 256 << 10  # characters; a mapping of a megabyte takes YAML half a minute


@dataclass(frozen=True)
class SourceCard:
    """What the source's own card says that a derived card must repeat.

    Attributes:
        metadata: The YAML block of its README.
        url: Its page on the Hub; empty for a folder.
    """

    metadata: Mapping[str, Any]
    url: str = ""


def front_matter(text: str, where: str) -> dict[str, Any]:
    """Return the YAML block at the head of a README, empty where there is none.

    Raises:
        SourceError: The block cannot be read, so that a license might be lost, or what a derived card repeats of it is
            not text.
    """
    block = re.match(r"\A---[ \t]*\r?\n(.*?\n)---[ \t]*\r?$", text, re.DOTALL | re.MULTILINE)
    if block and len(block[1]) > LARGEST_METADATA:
        raise SourceError(f"The metadata of its README is over {human_size(LARGEST_METADATA)}.", where=where)
    try:
        found = YAML(typ="safe", pure=True).load(block[1]) if block else {}
    except YAMLError as error:
        raise SourceError("The metadata of its README is no YAML.", where=where) from error
    if not isinstance(found, dict | None):
        raise SourceError("The metadata of its README is no mapping.", where=where)
    said = {key: value for key, value in (found or {}).items() if value is not None}
    for key in REPEATED:
        if key in said and not is_text(said[key]):  # aliases may unfold to more than any memory holds
            raise SourceError(
                f"In the metadata of its README {key} is neither a text nor a list of texts.", where=where
            )
    return said


def is_text(value: object) -> bool:
    """Return whether a value is a text or a list of texts; a number is as good."""
    return all(isinstance(part, str | int | float) for part in (value if isinstance(value, list) else [value]))


def templates() -> dict[str, str]:
    """Return the digest of each card template; the usage snippet is part of every card."""
    folder = resources("pipeline.cards")
    found = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".md.jinja"))
    usage = (folder / "usage.py.jinja").read_text()
    return {name.removesuffix(".md.jinja"): digest_of([(folder / name).read_text(), usage]) for name in found}


def write_card(
    plan: TargetPlan, checkpoint: Path, judged: Judged, source: SourceCard, recipe: bytes, store: Store
) -> Path:
    """Return the whole folder that a release uploads: the checkpoint with card, pictures, report and manifest.

    Raises:
        CardError: A template has no value for a variable, or cannot be rendered.
    """
    key = digest_of([plan.digest, hashlib.sha256(recipe).hexdigest(), judged.report.model_dump(mode="json")])

    def build(folder: Path) -> None:
        empty(folder)
        for path in files_under(checkpoint):
            if path != checkpoint / MEASURED:
                link_or_copy(path, folder / path.relative_to(checkpoint))
        draw(plan, judged, folder / PICTURE)
        usage = render("usage.py.jinja", context(plan, judged, source))
        card = render(f"{plan.template}.md.jinja", {**context(plan, judged, source), "usage": usage})
        write_atomically(folder / "README.md", f"---\n{metadata(plan, source)}---\n{card}".encode())
        write_atomically(folder / USAGE, usage.encode())
        write_atomically(folder / RECIPE, recipe)
        write_atomically(folder / PLAN, pretty_json(plan.model_dump(mode="json")))
        report = judged.report.model_dump(mode="json") | {"usage": usage_note(plan), "weights": measured(checkpoint)}
        write_atomically(folder / REPORT, pretty_json(report))
        describe(folder, report)

    return store.make("release", key, build)


def describe(folder: Path, report: dict[str, Any]) -> None:
    """Write what a consumer verifies a release by: the statement of where it comes from, and the list of its files."""
    built = manifest_of(folder)
    plan = json.loads((folder / PLAN).read_bytes())
    content = pretty_json(state(built, plan, report).model_dump(mode="json"))
    write_atomically(folder / PROVENANCE, content)
    stated = FileEntry(size=len(content), sha256=hashlib.sha256(content).hexdigest())
    manifest = Manifest(files=dict(sorted({**built.files, PROVENANCE: stated}.items())))
    write_atomically(folder / MANIFEST, pretty_json(manifest.model_dump(mode="json")))


def draw(plan: TargetPlan, judged: Judged, to: Path) -> None:
    """Draw source beside candidate for the first seed of some prompts, the worst pair first."""
    pairs = [pair for pair in judged.report.pairs if pair.seed == plan.validation.seeds[0]]
    ranked = sorted(pairs, key=lambda pair: pair.values.get("psnr", 0.0))
    shown = [ranked[0], *[pair for pair in pairs if pair is not ranked[0]]][:COLUMNS]
    grid([(pair.text, judged.reference / pair.reference, judged.candidate / pair.candidate) for pair in shown], to)


def render(name: str, values: Mapping[str, Any]) -> str:
    """Render one template in a sandbox.

    Raises:
        CardError: A variable has no value, or the template does what the sandbox forbids.
    """
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"size": human_size, "text": as_text, "literal": literal, "median": median}
    try:
        template = (resources("pipeline.cards") / name).read_text()
        return environment.from_string(template).render(values)
    except TemplateError as error:
        raise CardError(
            f"The template cannot be rendered: {error.message}.",
            where=f"cards/{name}",
            remedy="Every variable of a template must have a value in plan and report; correct the template.",
        ) from error


def literal(value: object) -> str:
    """Return a JSON value as Python source."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def as_text(value: object) -> str:
    """Escape text from elsewhere, so that Markdown and HTML show it and do nothing with it."""
    flat = " ".join(str(value).split())
    escaped = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#+!|~])", r"\\\1", escaped)


def context(plan: TargetPlan, judged: Judged, source: SourceCard) -> dict[str, Any]:
    """Return the values that templates may use, all of them from plan, report and the source's card."""
    schemes = {name: BACKENDS[part.quantization.backend].SCHEMES[part.quantization.scheme] for name, part in
               plan.components.items()}  # fmt: skip
    return {
        "plan": plan,
        "report": judged.report,
        "source": source,
        "dtype": pipeline_dtype(plan),
        "schemes": schemes,
        "runs_on": sorted({scheme.runs_on for scheme in schemes.values()}),
        "packages": sorted({BACKENDS[part.quantization.backend].DISTRIBUTION for part in plan.components.values()}),
        "executed": snippet_runs_here(plan),
        "picture": PICTURE,
        "license": {key: source.metadata[key] for key in LICENSE_KEYS if key in source.metadata},
        "prompt": plan.validation.prompts[0].prompt,
        "call": plan.validation.call,
        "seed": plan.validation.seeds[0],
        "kept": kept_modules(plan.components),
    }


def kept_modules(components: Mapping[str, PlannedComponent]) -> dict[str, dict[str, list[str]]]:
    """Return the modules that stay as they are, by component and reason."""
    found: dict[str, dict[str, list[str]]] = {}
    for name, part in components.items():
        for module, reason in part.kept.items():
            found.setdefault(name, {}).setdefault(reason, []).append(module)
    return found


def metadata(plan: TargetPlan, source: SourceCard) -> str:
    """Return the YAML block that the Hub reads, with the license fields as the source has them."""
    from huggingface_hub import ModelCardData

    backends = sorted({part.quantization.backend for part in plan.components.values()})
    schemes = sorted({part.quantization.scheme for part in plan.components.values()})
    fields: dict[str, Any] = {
        key: source.metadata[key] for key in (*LICENSE_KEYS, "language") if key in source.metadata
    }
    if plan.source.repo:
        fields |= {"base_model": plan.source.repo, "base_model_relation": "quantized"}
    fields |= {"library_name": "diffusers", "pipeline_tag": source.metadata.get("pipeline_tag", plan.task)}
    fields["tags"] = ["quantized", *backends, *schemes, "quantpress"]
    return f"{ModelCardData(**fields).to_yaml()}\n"


def snippet_runs_here(plan: TargetPlan) -> bool:
    """Return whether this machine can run the card's snippet: diffusers refuses bitsandbytes without a GPU."""
    import torch

    needs_gpu = any(part.quantization.backend == "bitsandbytes" for part in plan.components.values())
    return torch.cuda.is_available() or not needs_gpu


def usage_note(plan: TargetPlan) -> str:
    """Return what the report says of the snippet."""
    if snippet_runs_here(plan):
        return "The card's snippet was run against the staged commit before it was merged."
    return "The card's snippet was not run: no device here can. The staged commit was loaded as validation loaded it."
