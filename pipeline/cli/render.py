"""How the command shows results: a table to people, JSON to programs."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.console import LOG, Console
from pipeline.errors import PublishError, RecipeError
from pipeline.files import human_size

if TYPE_CHECKING:
    from pipeline.fleet.machine import Remark
    from pipeline.fleet.status import TargetStatus
    from pipeline.plan.model import TargetPlan
    from pipeline.plan.parts import PlannedChoice
    from pipeline.release.other_work import Beside
    from pipeline.run import Outcome
    from pipeline.validate import Report
    from pipeline.verify.reporting import Page
    from pipeline.verify.verification import Verified


def show_quantized(console: Console, made: dict[str, Any]) -> None:
    """Show people what was made and how much of the signal is left."""
    rows = []
    for name, part in made["components"].items():
        found = sorted(value for value in part["sqnr"].values() if value is not None)
        shown = f"{found[0]:.1f} dB" if found else ""
        middle = f"{found[len(found) // 2]:.1f} dB" if found else ""
        rows.append([name or "component", str(len(part["sqnr"])), shown, middle])
    sizes = f"{human_size(made['source_bytes'])} → {human_size(made['result_bytes'])}"
    title = f"{made['out']} ({sizes}, {made['seconds']:.1f} s)"
    console.table(title, ["component", "weights", "least SQNR", "median"], rows)


def plan_json(made: TargetPlan, tag: str | None, beside: Beside) -> dict[str, Any]:
    """Return what ``publish plan --json`` says of one target."""
    needs = {
        "memory": made.memory_bytes,
        "validation_memory": made.validation_memory_bytes,
        "disk": made.disk_bytes,
        "streamed_disk": made.streamed_disk_bytes,
    }
    told = {"digest": made.digest, "needs": needs, "published_as": tag, "beside": asdict(beside)}
    return {"plan": made.model_dump(mode="json"), **told}


def show_plan(console: Console, made: TargetPlan, tag: str | None, beside: Beside) -> None:
    """Show a plan to people."""
    rows = [
        [
            name,
            f"{part.quantization.backend} {part.quantization.scheme}",
            str(part.tensors),
            f"{part.parameters / 1e6:.1f} M",
            f"{part.parameters_left / 1e6:.1f} M",
            human_size(part.source_bytes),
            human_size(part.result_bytes),
        ]
        for name, part in made.components.items()
    ]
    title = f"{made.target} → {made.repository} ({human_size(made.source_bytes)} → {human_size(made.result_bytes)})"
    columns = ["component", "scheme", "tensors", "parameters", "left", "source", "result"]
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
    for name, part in made.components.items():
        for reason in sorted(set(part.kept.values())):
            modules = [module for module, why in part.kept.items() if why == reason]
            say(f"  {name} keeps {len(modules)} Linear modules ({reason}): {', '.join(modules[:4])}")
    say(
        f"  needs {human_size(made.memory_bytes)} of memory to quantize, {human_size(made.validation_memory_bytes)} to "
        f"validate, and {human_size(made.disk_bytes)} of disk ({human_size(made.streamed_disk_bytes)} to quantize "
        "with --stream)"
    )
    if beside.kept:
        say(f"  keeps what others put into {made.repository}: {', '.join(beside.kept)}")
    if beside.overwritten:
        say(f"  overwrites there {', '.join(beside.overwritten)}")
    if beside.refused:
        say(f"  a release would be refused: {beside.refused}")
    say(f"  plan {made.digest[:12]}: {f'published already as {tag}' if tag else 'not seen on the Hub'}\n")


def choice_words(found: PlannedChoice) -> str:
    """Return schemes that a budget may choose, with what they come to."""
    parts = ", ".join(f"{name} {words}" for name, words in found.components.items())
    memory = human_size(found.memory_bytes)
    return f"{parts}: {found.size_ratio:.3g} of the size, {memory} in memory, about {found.sqnr:.1f} dB of the signal"


def show_outcomes(console: Console, outcomes: list[Outcome], failures: list[PublishError]) -> None:
    """Show what became of the targets; for programs it is the last line."""
    codes = [failure.exit_code for failure in failures]
    console.result({"result": [done.model_dump(mode="json") for done in outcomes], "failures": codes})
    rows = [
        [
            done.repository,
            done.tag or "",
            done.state,
            done.verdict or "",
            human_size(done.source_bytes),
            human_size(done.result_bytes),
        ]
        for done in outcomes
    ]
    if rows and console.mode != "json":
        console.table("", ["repository", "tag", "state", "verdict", "source", "result"], rows)


def show_judged(console: Console, report: Report, page: Path) -> None:
    """Show a verdict, why, and where its page is."""
    said = report.model_dump(mode="json", include={"verdict", "reasons"})
    lines = [f"{report.verdict}: {page}", *(f"  {reason.verdict:12} {reason.text}" for reason in report.reasons)]
    console.result({"result": {**said, "out": str(page.parent), "page": str(page)}}, "\n".join(lines))


def show_pages(console: Console, pages: Sequence[Page]) -> None:
    """Show which pages were written where, a line for each."""
    lines = [f"{page.verdict:12} {page.path}" for page in pages]
    console.result({"result": [page.model_dump(mode="json") for page in pages]}, "\n".join(lines))


def show_standings(console: Console, found: Sequence[TargetStatus]) -> None:
    """Show where targets stand, and what is to be known of each beneath."""
    console.result({"targets": [standing.model_dump(mode="json") for standing in found]})
    if console.mode == "json":
        return
    rows = [[each.repository, each.state, each.tag or "", (each.commit or "")[:12]] for each in found]
    console.table("", ["repository", "state", "tag", "main"], rows)
    for standing in found:
        made = ", ".join(f"{name} {version}" for name, version in standing.versions.items())
        for text in (*(finding.text for finding in standing.findings), *standing.notes, made and f"made with {made}"):
            if text:
                console.say(f"  {standing.repository}: {text}")


def show_cleaned(console: Console, found: Mapping[str, Any]) -> None:
    """Show what a home held and what became of it, and what the disk has again."""
    console.result(found)
    if console.mode == "json":
        return
    gone = "would go" if found["dry_run"] else "removed"
    fates = {"needed": "", "kept": "kept", "used": "in use", "removed": gone}
    rows = []
    for each in found["holdings"]:
        kind, who = each["kind"] + ("" if each["whole"] else ", unfinished"), each["needed_by"]
        more = f" and {len(who) - 2} more" if len(who) > 2 else ""
        told = ", ".join(who[:2]) + more if who else fates[each["fate"]]
        rows.append([kind, each["key"][:24], human_size(each["size"]), told])
    console.table("", ["what", "key", "size", "needed by"], rows)
    verb = "would be freed" if found["dry_run"] else "freed"
    console.say(f"{human_size(found['freed'])} {verb}")


def show_remarks(console: Console, found: Sequence[Remark]) -> None:
    """Show an examination, a line for each thing that was looked at."""
    lines = [f"{each.level:8}{each.topic}: {each.text.rstrip('.')}. {each.remedy}" for each in found]
    console.result({"remarks": [each.model_dump(mode="json") for each in found]}, "\n".join(lines))


def show_verified(console: Console, found: Verified) -> None:
    """Show what a verification found, a line for each check."""
    console.result({"result": found.model_dump(mode="json")})
    if console.mode != "json":
        rows = [[check.name, check.state, check.text] for check in found.checks]
        console.table(f"{found.repository}@{found.commit[:12]}", ["check", "state", "found"], rows)


def show_error(console: Console, error: PublishError, *, tracebacks: bool) -> None:
    """Show an error, and where it came from if that was asked for; the log has both."""
    logging.getLogger(LOG).error("%s", error, exc_info=error)
    if tracebacks:
        console.say("".join(traceback.format_exception(error)))
    console.error(error)


def show_usage(console: Console, error: Exception) -> int:
    """Show what typer finds wrong with the command line, or the help where there was nothing on it."""
    told = getattr(error, "format_message", lambda: str(error))()
    usage = getattr(getattr(error, "ctx", None), "get_usage", lambda: "")()
    console.say(told if told.startswith("Usage:") else f"{usage}\nerror: {told}")
    return RecipeError.exit_code


def show_defect(console: Console, error: Exception, log: Path | None, *, tracebacks: bool) -> int:
    """Show that the program itself failed: one line, and on request where."""
    told = f"; please report it with {log}" if log else "; please report it"
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    defect = PublishError(
        f"This is a defect of publish, not of the recipe ({reason}).",
        remedy=f"The same command with --traceback shows where{told}.",
    )
    defect.__cause__ = error
    show_error(console, defect, tracebacks=tracebacks)
    return defect.exit_code
