"""Plan: what would be built and published."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import typer

from pipeline.cli.console import Console
from pipeline.cli.context import Session
from pipeline.cli.options import HubName, RecipePath, Targets
from pipeline.cli.run import gathered
from pipeline.errors import PublishError
from pipeline.files import human_size

if TYPE_CHECKING:
    from pipeline.plan.model import TargetPlan
    from pipeline.plan.parts import PlannedChoice, PlannedLadder
    from pipeline.release.earlier import Earlier
    from pipeline.release.other_work import Beside
    from pipeline.run import Engine

NAMED: Final = 4  # modules that stay as they are; others are counted


def plan(ctx: typer.Context, recipe: RecipePath, target: Targets = None, hub: HubName = "") -> None:
    """Show what would be built and published, from tensor headers alone."""
    session: Session = ctx.obj

    with session.engine(recipe, hub) as engine:
        names = engine.prepare(target or ())
        made, failures = gathered(session, (planned(session, engine, name) for name in names))
        if made and made[-1].ladder and session.console.mode != "json":
            show_ladder(session.console, made[-1].ladder)
    if failures:
        raise typer.Exit(failures[0].exit_code)


def planned(session: Session, engine: Engine, target: str) -> TargetPlan | PublishError:
    """Show the plan of a target and return it, or why there is none."""
    try:
        made, remote = engine.plan(target, releases=False)
        earlier, beside = next(iter(engine.earlier(made, remote)), None), engine.beside(made, remote)
    except PublishError as error:
        return error
    session.console.result(plan_json(made, earlier, beside))
    if session.console.mode != "json":
        show_plan(session.console, made, earlier, beside)
    return made


def plan_json(made: TargetPlan, earlier: Earlier | None, beside: Beside) -> dict[str, Any]:
    """Return what ``publish plan --json`` says of one target."""
    needs = {
        "memory": made.memory_bytes,
        "validation_memory": made.validation_memory_bytes,
        "disk": made.disk_bytes,
        "streamed_disk": made.streamed_disk_bytes,
    }
    tags: dict[str, str | None] = {"published_as": None, "withdrawn_as": None}
    if earlier:
        tags["withdrawn_as" if earlier.withdrawal else "published_as"] = earlier.tag
    told = {"digest": made.digest, "needs": needs, **tags, "instead": made.instead or None, "beside": asdict(beside)}
    return {"plan": made.model_dump(mode="json"), **told}


def show_plan(console: Console, made: TargetPlan, earlier: Earlier | None, beside: Beside) -> None:
    """Show a plan to people; of one that is never carried out why that is."""
    from pipeline.card.context import loaders_of

    if made.instead:
        console.say(f"{made.target}: not published: {made.instead}\n")
        return
    rows = [
        [
            name,
            part.quantization.words,
            part.activations,
            str(part.tensors),
            f"{part.parameters / 1e6:.1f} M",
            f"{part.parameters_left / 1e6:.1f} M",
            human_size(part.source_bytes),
            f"{'about ' if part.estimated else ''}{human_size(part.result_bytes)}",
        ]
        for name, part in made.artifacts
    ]
    about = "about " if made.estimated else ""
    sizes = f"{human_size(made.source_bytes)} → {about}{human_size(made.result_bytes)}"
    if made.further_bytes:
        sizes += f", {human_size(made.result_bytes + made.further_bytes)} with the files beside it"
    title = f"{made.target} → {made.repository} ({sizes})"
    columns = ["component", "scheme", "activations", "tensors", "parameters", "left", "source", "result"]
    console.table(title, columns, rows)
    say = console.say
    if made.budget:
        say(f"  the budget found {choice_words(made.budget.found)}")
        say(
            f"  the next best is {choice_words(made.budget.runner_up)}"
            if made.budget.runner_up
            else "  nothing else fits"
        )
    for lora in made.loras:
        onto = "fused into the source" if lora.how == "fused" else "loaded onto source and result"
        say(f"  the LoRA {lora.where} is {onto} at scale {lora.scale:g}")
    for name, part in made.artifacts:
        if part.stored:
            counts = ", ".join(f"{count} {kind}" for kind, count in part.stored.items())
            say(f"  {name} is stored as {counts} in {part.file}")
        for reason in sorted(set(part.kept.values())):
            modules = [module for module, why in part.kept.items() if why == reason]
            more = f" and {len(modules) - NAMED} more" if len(modules) > NAMED else ""
            say(f"  {name} keeps {len(modules)} Linear modules ({reason}): {', '.join(modules[:NAMED])}{more}")
    say(
        f"  needs {human_size(made.memory_bytes)} of memory to quantize, {human_size(made.validation_memory_bytes)} to "
        f"validate, and {human_size(made.disk_bytes)} of disk ({human_size(made.streamed_disk_bytes)} to quantize "
        "with --stream)"
    )
    if made.validation.browser and all(loader.form.config for loader in loaders_of(made)):
        say("  no browser is asked: a page loads what is ONNX, and this target is not")
    if beside.kept:
        say(f"  keeps what others put into {made.repository}: {', '.join(beside.kept)}")
    if beside.overwritten:
        say(f"  overwrites there {', '.join(beside.overwritten)}")
    if beside.refused:
        say(f"  a release would be refused: {beside.refused}")
    say(f"  plan {made.digest[:12]}: {seen(earlier)}\n")


def show_ladder(console: Console, ladder: PlannedLadder) -> None:
    """Show what there is for each card."""
    rows = [
        [
            step.card,
            step.taken or "the source",
            f"{'about ' if step.estimated else ''}{human_size(step.bytes)}",
            f"{step.sqnr} dB" if step.sqnr is not None else "all",
            *(f"{'* ' if step.offload == how else ''}{human_size(of.total)}" for how, of in step.memory.items()),
        ]
        for step in ladder.steps
    ]
    ways = ["all there", "by models", "by weights"]
    console.table("which of these for which card", ["card", "take", "files", "signal", *ways], rows)
    for step in ladder.steps:
        if step.published:
            console.say(f"  {step.target}: {', '.join(f'{name} {words}' for name, words in step.components.items())}")
    console.say(
        "  Of the card's memory it takes, with all of it there at once; by models, one component there at a time; by "
        "weights, one layer at a time."
    )
    console.say(
        "  * is how it runs on that card. Weights are exact, from headers; what a call takes beside them, and CUDA, is "
        "reckoned.\n"
    )


def seen(earlier: Earlier | None) -> str:
    """Return what the Hub has of a plan."""
    if earlier is None:
        return "not seen on the Hub"
    if earlier.withdrawal:
        return f"withdrawn as {earlier.tag}: {earlier.withdrawal.why}"
    return f"published already as {earlier.tag}"


def choice_words(found: PlannedChoice) -> str:
    """Return schemes that a budget may choose, with what they come to and how that is known."""
    parts = ", ".join(f"{name} {words}" for name, words in found.components.items())
    memory, reckoned = human_size(found.memory_bytes), [name for name in found.components if name not in found.rows]
    known = [f"measured on {sum(found.rows.values())} rows of the source"] if found.rows else []
    of = f" in {', '.join(reckoned)}" if known else ""
    known += [f"expected of normal weights{of}"] if reckoned else []
    signal = f"about {found.sqnr:.1f} dB of the signal, {' and '.join(known)}"
    return f"{parts}: {found.size_ratio:.3g} of the size, {memory} in memory, {signal}"
