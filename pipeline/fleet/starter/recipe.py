"""Recipe: its text, with a comment on each key."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pipeline.files import human_size
from pipeline.fleet.starter.needs import INT8, NF4, KnownScheme, Served, Weights, grouped
from pipeline.fleet.starter.subject import Subject
from pipeline.recipe.names import name_of_source
from pipeline.recipe.problems import listed
from pipeline.recipe.whole import plain_or_json
from pipeline.tasks import TASKS
from pipeline.tasks.automatic_speech_recognition import TRANSCRIPTS
from pipeline.tasks.text_generation import ANSWERS

COLUMN: Final = 44  # where comments begin at the earliest
PICTURES: Final = {  # what a mean over pictures keeps: of schemes of 8 bits, and of 4
    8: (
        "psnr: {min: 22}",
        "decibels to the source's; from 30 on they are hard to tell apart",
    ),
    4: ("psnr: {min: 16}", "decibels to the source's; 4 bits draw the same with other details"),
}
ERRORS: Final = {4: "wer: {rise: {max: 0.05}}", 8: "wer: {rise: {max: 0.03}}"}
DIVERGENCES: Final = {
    8: "kl_divergence: {max: 0.05}",
    4: "kl_divergence: {max: 0.2}",
}
RATIOS: Final = {
    8: "perplexity_ratio: {max: 1.05}",
    4: "perplexity_ratio: {max: 1.2}",
}
EMBEDDINGS: Final = {
    8: ("cosine_similarity: {min: 0.99}", "of each embedding to the source's"),
    4: ("cosine_similarity: {min: 0.95}", "of each embedding to the source's"),
}
NEIGHBOURS: Final = {8: "overlap_at_10: {min: 0.85, worst: 0.5}", 4: "overlap_at_10: {min: 0.7, worst: 0.3}"}
CLIP: Final = "clip_score: {model: openai/clip-vit-large-patch14, drop: {max: 0.5}}"
LATENCY: Final = "It saves memory; for low latency `publish advise --for cpu` says int8-dynamic, compiled."
FLOAT32: Final = "For processors alone `dtype: float32`: few are fast in bfloat16, SmolLM2 was a third as fast."
SLACK: Final = 1.15  # over the size that is reckoned


@dataclass(frozen=True)
class Draft:
    """Everything that a recipe's text is made of.

    Attributes:
        title: The source's own name.
        origin: The repository, or the folder relative to the recipe's file.
        revision: The commit; empty for a folder.
        variant: The variant of the weights that is read; empty for the plain ones.
        namespace: Where its targets are published.
        subject: What it is for.
        weights: What its headers weigh.
        served: The needs that it serves.
        prompts: The name of its prompts file.
        ratio: Bytes of the largest target over those of the source's files, as reckoned.
        class_name: The class of its pipeline or model.
        schema: The file by which editors complete it, relative to its own; empty where there is none.
    """

    title: str
    origin: str
    revision: str
    variant: str
    namespace: str
    subject: Subject
    weights: Weights
    served: tuple[Served, ...]
    prompts: str
    ratio: float
    class_name: str
    schema: str

    @property
    def targets(self) -> Mapping[KnownScheme, list[Served]]:
        """The needs by the scheme that serves them."""
        return grouped(self.served)

    @property
    def name(self) -> str:
        """How the repositories are called: after the source, as far as the Hub takes its name."""
        fit = re.sub(r"[^A-Za-z0-9_]+", lambda found: found[0] if found[0] in ".-" else "-", self.title).strip("-.")
        return "{source}-{target}" if fit == name_of_source(self.origin) else f"{fit or 'model'}-{{target}}"


def written(draft: Draft) -> str:
    """Return the text of a recipe."""
    lines = [*head(draft), *source(draft), *targets(draft), *validation(draft)]
    lines.append(noted(f"card: {{template: {draft.subject.task}}}", "the README, written from what was measured"))
    return "".join(f"{printable(line)}\n" for line in lines)


def printable(line: str) -> str:
    """Return a line without what would end it, or what recipes refuse: names of a source are anybody's."""
    return "".join(char if char.isprintable() else " " for char in line)


def noted(text: str, comment: str) -> str:
    """Return a line with a comment behind it."""
    return f"{text:<{COLUMN}} # {comment}"


def head(draft: Draft) -> Iterator[str]:
    """Yield what the model is."""
    size = human_size(draft.weights.size(None))
    license_of_it = license_words(draft.subject.license) if draft.subject.license else ""
    count = f"{draft.weights.parameters / 1e6:,.1f} million parameters"
    yield f"# {draft.class_name}, {count}, {size} in memory{license_of_it}."
    yield "# After a change: publish check, publish plan."
    if draft.schema:
        yield f"# yaml-language-server: $schema={draft.schema}"


def license_words(license_of_it: str) -> str:
    """Return how the first line of a recipe ends where the license of its source is known."""
    return f"; license: {' '.join(license_of_it.split())}"


def relicensed(text: str, before: str, after: str) -> str:
    """Return a recipe's text with another license in its first line, if that is as it was written here."""
    first, separator, rest = text.partition("\n")
    ours = re.fullmatch(rf"(# .+ million parameters, .+ in memory){re.escape(license_words(before))}\.(\r?)", first)
    return printable(f"{ours[1]}{license_words(after)}.") + ours[2] + separator + rest if ours else text


def source(draft: Draft) -> Iterator[str]:
    """Yield where the model lies, what it is for, and where its targets go."""
    yield noted("source:", "the model that is quantized")
    if draft.revision:
        yield f"  repo: {plain_or_json(draft.origin)}"
        yield noted(f"  revision: {draft.revision}", "the newest commit; `publish bump` moves it")
    else:
        yield noted(f"  path: {plain_or_json(draft.origin)}", "relative to this file")
    if draft.variant:
        yield noted(f"  variant: {plain_or_json(draft.variant)}", "the weight files that are read")
    yield noted(f"task: {draft.subject.task}", "what it is for, and with that what is asked and measured")
    yield "destination:"
    yield noted(f"  namespace: {plain_or_json(draft.namespace)}", "the user or organization to publish under")
    yield noted(f'  name: "{draft.name}"', "how each target's repository is called")


def targets(draft: Draft) -> Iterator[str]:
    """Yield the repositories to make."""
    yield noted("targets:", "a repository each; `publish plan` shows what every one would be")
    for scheme, served in draft.targets.items():
        size = human_size(draft.weights.size(scheme))
        yield f"  # For {listed(map(way, served), 'and')}: about {size} of weights; {scheme.text}."
        needs = {each.need for each in served}
        if scheme.target == INT8.target and "cpu" in needs:
            yield f"  # {LATENCY}"
        if scheme is INT8 and needs > {"cpu"} and draft.weights.single and draft.weights.dtype != "float32":
            yield f"  # {FLOAT32}"
        yield f"  {scheme.target}:"
        # torchao multiplies by the codes before it does by the scale, of which sums leave float16's range.
        kept = draft.weights.dtype if scheme is INT8 and draft.weights.dtype != "float16" else scheme.dtype
        dtype = f", dtype: {kept}" if kept else ""
        for name in draft.weights.quantized(scheme):
            yield f"    {name}: {{{scheme.words}{dtype}}}"


def way(served: Served) -> str:
    """Return how a need is served."""
    return f"{served.need} (one component at a time: enable_model_cpu_offload)" if served.offloaded else served.need


def validation(draft: Draft) -> Iterator[str]:
    """Yield how the targets are judged."""
    task, call = TASKS[draft.subject.task], draft.subject.call
    yield noted("validation:", "source and target answer the same prompts")
    if task.medium is TRANSCRIPTS:
        yield "  # Clips with what is said in them, a file or a dataset; your own make the verdict yours."
        yield f"  prompts: {draft.prompts}"
    else:
        yield noted(f"  prompts: {draft.prompts}", "a question a line; your own make the verdict yours")
    if task.seeded:
        yield noted("  seeds: [0]", f"one {task.medium.noun} a prompt from each seed")
    settings = ", ".join(f"{name}: {value}" for name, value in call.items())
    if settings:
        comment = f"the defaults of {draft.subject.caller}; distilled models want fewer steps"
        how = (
            "answers are greedy" if task.medium is ANSWERS else "how an embedding is made of what is said of each token"
        )
        yield f"  # {comment if task.seeded else how}"
        yield f"  call: {{{settings}}}"
    needs = {each.need for each in draft.served}
    if "embedded" in needs:
        yield noted("  device: {memory: 4GB, threads: 1}", "each target answers within a board's memory and threads")
    if "web" in needs and task.page:
        yield noted("  browser: {questions: 4}", "the browser of this machine loads what is ONNX, and answers")
    yield noted("  require:", "what a target must reach to be published")
    yield from limits(draft)


def limits(draft: Draft) -> Iterator[str]:
    """Yield what a target must reach: as much as its coarsest scheme keeps of sound models."""
    bits = 4 if NF4 in draft.targets else 8
    if TASKS[draft.subject.task].medium is ANSWERS:
        yield noted(f"    {DIVERGENCES[bits]}", "from what the source expects at each token, in nats")
        yield noted(f"    {RATIOS[bits]}", "perplexity over the source's; small models lose more than large ones")
    elif TASKS[draft.subject.task].medium is TRANSCRIPTS:
        yield noted(f"    {ERRORS[bits]}", "word error rate above the source's")
        yield noted("    token_agreement: {min: 0.8}", "share of a transcript's tokens that are the source's")
    elif not TASKS[draft.subject.task].seeded:
        yield noted(f"    {EMBEDDINGS[bits][0]}", EMBEDDINGS[bits][1])
        yield noted(f"    {NEIGHBOURS[bits]}", "share of each text's nearest neighbours that stay")
    else:
        yield noted(f"    {PICTURES[bits][0]}", PICTURES[bits][1])
        if draft.subject.task == "text-to-image":
            yield "    # And how well pictures fit their prompts; `publish bump` pins the judge:"
            yield f"    # {CLIP}"
    ratio = min(1.0, math.ceil(draft.ratio * SLACK * 100) / 100)
    yield noted(f"    size_ratio: {{max: {ratio:g}}}", f"bytes over the source's; about {draft.ratio:.2f} is expected")
