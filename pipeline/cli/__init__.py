"""The ``publish`` command: one short function a verb, and the only reader of argv and environment."""

from __future__ import annotations

import json as jsons
import logging
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from pipeline.cli.console import LOG, Console, Mode
from pipeline.cli.context import Session, checkout_of
from pipeline.cli.logs import listen_to_libraries
from pipeline.cli.render import (
    plan_json,
    show_cleaned,
    show_defect,
    show_error,
    show_judged,
    show_outcomes,
    show_pages,
    show_plan,
    show_quantized,
    show_remarks,
    show_standings,
    show_usage,
    show_verified,
)
from pipeline.errors import CannotHereError, PublishError, RecipeError, VerdictError
from pipeline.worker.startup import skip_gc_at_exit

if TYPE_CHECKING:
    from pipeline.hub.source import Repository
    from pipeline.release.signing import Signer
    from pipeline.run import Outcome
    from pipeline.source.layout import Folder

INTERRUPTED = 130


class Verbs(TyperGroup):
    """The verbs. The options that all of them share may stand on either side of the verb."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line."""
        return list(super().parse_args(ctx, self.shared_first(args)))

    def shared_first(self, args: list[str]) -> list[str]:
        """Put the shared options before the verb, where they are looked for; an option's value is left what it is."""
        shared: list[str] = []
        others: list[str] = []
        ours, theirs = options_of(self), dict[str, bool]()
        words = iter(args)
        for word in words:
            if word == "--":
                return [*shared, *others, word, *words]
            name, given, _ = word.partition("=")
            place = shared if name in ours else others
            place.append(word)
            if {**theirs, **ours}.get(name, False) and not given:
                place.extend(islice(words, 1))
            if word in self.commands and not theirs:
                theirs = options_of(self.commands[word])
        return [*shared, *others]


def options_of(command: Any) -> dict[str, bool]:
    """Return the options of a command, and whether each takes a value."""
    named = [param for param in command.params if isinstance(param, TyperOption)]
    return {word: not param.is_flag for param in named for word in (*param.opts, *param.secondary_opts)}


app = typer.Typer(
    cls=Verbs,
    help="Turn recipes into verified, pre-quantized checkpoints on a Hugging Face Hub.",
    epilog="These options may stand on either side of the verb.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe's YAML file.")]
Targets = Annotated[list[str] | None, typer.Option("--target", help="Only this target; may be given again.")]
HubName = Annotated[
    str, typer.Option("--hub", help="`local` (the embedded Hub), an address, or what HF_ENDPOINT names.")
]
Recipes = Annotated[
    list[Path] | None, typer.Argument(metavar="RECIPE", help="Recipes; all under recipes/ where none is named.")
]
Device = Literal["cpu", "cuda"]
Dtype = Literal["bfloat16", "float16", "float32"]
Streamed = Annotated[
    bool, typer.Option("--stream", help="Quantize a source on a Hub as it comes; its weights are never stored.")
]


session = Session(Console("people"), None, tracebacks=False)  # until the command line was read


@app.callback()
def options(
    *,
    json: Annotated[bool, typer.Option("--json", help="Write JSON to stdout.")] = False,
    home: Annotated[
        Path | None, typer.Option("--home", envvar="PUBLISH_HOME", help="The folder of store, embedded Hub and logs.")
    ] = None,
    traceback: Annotated[bool, typer.Option("--traceback", help="Show where in the code an error came from.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show what libraries log and warn of.")] = False,
) -> None:
    """Read what every verb shares."""
    global session  # noqa: PLW0603  typer calls verbs without a place to pass it
    mode: Mode = "json" if json else "github" if os.environ.get("GITHUB_ACTIONS") == "true" else "people"
    session = Session(Console(mode), home, traceback)
    # Read by huggingface_hub when it is imported, which shows its warnings by itself.
    os.environ.setdefault("HF_HUB_VERBOSITY", "info" if verbose else "error")
    listen_to_libraries(shown=verbose)


@app.command()
def check(recipes: Annotated[list[Path], typer.Argument(metavar="RECIPE...", help="Recipes to check.")]) -> None:
    """Show every problem in recipes; offline, without torch."""
    from pipeline.card.preview import problems

    found = {str(path): problems(path, session.vocabulary) for path in recipes}
    told = [problem for group in found.values() for problem in group]
    text = "\n\n".join(str(problem) for problem in told) or f"{len(recipes)} checked, no problems"
    listed = [
        {"file": str(problem.file), "line": problem.line, "column": problem.column, "text": problem.text}
        for problem in told
    ]
    session.console.result({"problems": listed}, text)
    if told:
        raise typer.Exit(RecipeError.exit_code)


@app.command()
def plan(recipe: RecipePath, target: Targets = None, hub: HubName = "") -> None:
    """Show what would be built and published, from tensor headers alone."""
    from pipeline.plan.model import chosen

    with session.engine(recipe, hub) as engine:
        names = chosen(engine.loaded.recipe, tuple(target or ()))
        engine.prepare(names)
        for name in names:
            made, remote = engine.plan(name, releases=False)
            tag, beside = engine.published_as(made, remote), engine.beside(made, remote)
            session.console.result(plan_json(made, tag, beside))
            if session.console.mode != "json":
                show_plan(session.console, made, tag, beside)


@app.command()
def run(
    recipe: RecipePath,
    target: Targets = None,
    hub: HubName = "",
    stop_after: Annotated[str, typer.Option("--stop-after", metavar="STAGE", help="End after this stage.")] = "release",
    *,
    stream: Streamed = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Make again what is published, and release it where its bytes differ.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Overwrite what somebody changed on main since the last release.")
    ] = False,
) -> None:
    """Fetch, quantize, validate, write the card and release."""
    from pipeline.plan.model import chosen
    from pipeline.run import STAGES

    if stop_after not in STAGES:
        raise RecipeError(f"There is no stage {stop_after!r}.", remedy=f"The stages are {', '.join(STAGES)}.")
    outcomes: list[Outcome] = []
    failures: list[PublishError] = []
    with session.engine(recipe, hub, stream=stream, signer=signer(), rebuild=rebuild, replace=replace) as engine:
        names = chosen(engine.loaded.recipe, tuple(target or ()))
        engine.prepare(names)
        for ended in engine.run(names, stop_after):
            if isinstance(ended, PublishError):
                show_error(session.console, ended, tracebacks=session.tracebacks)
                failures.append(ended)
            else:
                outcomes.append(ended)
    show_outcomes(session.console, outcomes, failures)
    if failures:
        raise typer.Exit(failures[0].exit_code)


@app.command()
def quantize(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A folder or a repository: a pipeline or a component.")
    ],
    *,
    out: Annotated[Path, typer.Option("--out", help="The folder to make.")],
    backend: Annotated[str, typer.Option("--backend", help="The quantization library.")],
    scheme: Annotated[str, typer.Option("--scheme", help="What it is asked to do.")],
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="K=V", help="An option of the scheme.")
    ] = None,
    component: Annotated[list[str] | None, typer.Option("--component", help="Quantize this one; repeatable.")] = None,
    keep: Annotated[list[str] | None, typer.Option("--keep", help="Modules to leave as they are; repeatable.")] = None,
    dtype: Annotated[str, typer.Option("--dtype", help="The type of what is not quantized.")] = "bfloat16",
    variant: Annotated[str | None, typer.Option("--variant", help="Read the source's files of this variant.")] = None,
    device: Annotated[Device, typer.Option("--device", help="Where the library packs.")] = "cpu",
    revision: Annotated[
        str | None, typer.Option("--revision", help="The commit of a repository; main where none is named.")
    ] = None,
    stream: Streamed = False,
) -> None:
    """Quantize one folder or repository, without a recipe and without publishing."""
    from pipeline.backends import SCHEMES
    from pipeline.quantize.folder import QuantizeRequest, quantize_source
    from pipeline.recipe import Vocabulary, read_quantization
    from pipeline.source.layout import read_source

    words = {"backend": backend, "scheme": scheme, "dtype": dtype}
    lines = [f"{key}: {value}" for key, value in words.items()]
    lines += [f"{key}: {value}" for key, _, value in (text.partition("=") for text in option or ())]
    lines += ["keep:", *(f"  - {jsons.dumps(pattern)}" for pattern in keep)] if keep else []
    quantization = read_quantization("\n".join(lines), Vocabulary(SCHEMES, frozenset()))
    order = QuantizeRequest(quantization, tuple(component or ()), device, stream)
    with session.console:
        place = source_at(source, revision)
        made = quantize_source(
            place, read_source(place, variant), order, out.absolute(), session.home(), session.console.listen
        )
    session.console.result({"result": made}, "")
    if session.console.mode != "json":
        show_quantized(session.console, made)


@app.command()
def validate(
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="A folder or a repository: what is judged.")],
    *,
    reference: Annotated[str, typer.Option("--reference", help="A folder or a repository: what it is judged against.")],
    recipe: Annotated[Path, typer.Option("--recipe", help="The recipe whose questions and limits are used.")],
    out: Annotated[Path, typer.Option("--out", help="The folder for the report, its page and the pictures.")],
    dtype: Annotated[Dtype, typer.Option("--dtype", help="The type of what is not quantized.")] = "bfloat16",
    hub: HubName = "",
) -> None:
    """Judge one folder or repository against another; nothing is made and nothing published."""
    from pipeline.verify.folder import PAGE, FolderValidation

    with session.engine(recipe, hub) as engine:
        court = FolderValidation(engine, source_at(reference), dtype)
        report = court.judge(source_at(checkpoint), out.absolute())
    show_judged(session.console, report, out / PAGE)
    if report.verdict != "PASS":
        raise typer.Exit(VerdictError.exit_code)


@app.command()
def report(
    recipe: RecipePath,
    target: Targets = None,
    hub: HubName = "",
    out: Annotated[
        Path, typer.Option("--out", metavar="PATH", help="The folder for the pages, or the file of one target's.")
    ] = Path(),
) -> None:
    """Write a page on every verdict that was given: one HTML file with pictures, numbers and all that was used."""
    from pipeline.plan.model import chosen
    from pipeline.verify.reporting import Page, Reporting

    with session.engine(recipe, hub) as engine:
        names = chosen(engine.loaded.recipe, tuple(target or ()))
        engine.prepare(names)
        ended = list(Reporting(engine.planner, engine.store).pages(names, out))
    failures = [error for error in ended if isinstance(error, PublishError)]
    for error in failures:
        show_error(session.console, error, tracebacks=session.tracebacks)
    show_pages(session.console, [page for page in ended if isinstance(page, Page)])
    if failures:
        raise typer.Exit(failures[0].exit_code)


def source_at(source: str, revision: str | None = None) -> Folder | Repository:
    """Return a folder of this machine, or a repository on the Hub that ``HF_ENDPOINT`` names, at a commit.

    Raises:
        RecipeError: It is no name of a repository.
        SourceError: There is no such folder or repository.
    """
    from pipeline.hub.client import Hub
    from pipeline.recipe.addresses import read_name
    from pipeline.recipe.names import is_path
    from pipeline.source.layout import Folder

    if Path(source).exists() or is_path(source):
        return Folder(Path(source))
    hub = Hub(listen=session.console.listen)
    repo, named = read_name(source, revision, hub.endpoint)
    return hub.source(repo, hub.find(repo, named) or named or "main")


@app.command()
def status(recipes: Recipes = None, hub: HubName = "") -> None:
    """Show every recipe and target beside what the Hub has."""
    from pipeline.fleet.status import FleetStatus

    paths = session.recipes(recipes)
    with session.hubs_soon(session.home(paths[0]), hub) as (target, fallback):
        fleet = FleetStatus([session.load(path) for path in paths], session.home(paths[0]), target, fallback)
        found = fleet.standings()
    show_standings(session.console, found)
    if unread := max(standing.exit_code for standing in found):
        raise typer.Exit(unread)


@app.command()
def doctor(recipes: Recipes = None, hub: HubName = "") -> None:
    """Look at token, destinations, libraries, device, disk and memory; each line ends in what to do."""
    from pipeline.fleet.doctor import Doctor, on_github

    paths = session.recipes(recipes)
    home = session.home(paths[0])
    github = os.environ.get("GITHUB_REPOSITORY") or on_github(checkout_of(paths[0].parent))
    with session.hubs_soon(home, hub) as (target, fallback):
        found = Doctor([session.load(path) for path in paths], home, target, fallback, github).remarks()
    show_remarks(session.console, found)
    if any(remark.level == "problem" for remark in found):
        raise typer.Exit(CannotHereError.exit_code)


@app.command()
def clean(
    recipes: Recipes = None,
    *,
    hub: HubName = "",
    keep_sources: Annotated[bool, typer.Option("--keep-sources", help="Keep what was downloaded.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing; show what would be removed.")] = False,
) -> None:
    """Show what the home holds and which target needs it, and remove what none of the recipes needs."""
    from pipeline.events import silent
    from pipeline.fleet import clean as cleaning
    from pipeline.run import Engine
    from pipeline.store import Store

    paths = session.recipes(recipes)
    home = session.home(paths[0])
    with session.hubs_soon(home, hub) as (target, fallback):
        store = Store(home / "store", session.console.listen)
        engines = [Engine(session.load(path), home, target, fallback, silent, shared=store) for path in paths]
        found = cleaning.clean(engines, store, keep_sources=keep_sources, dry_run=dry_run)
    show_cleaned(session.console, found.model_dump(mode="json"))


@app.command()
def tune(
    recipe: RecipePath,
    target: Targets = None,
    *,
    hub: HubName = "",
    trials: Annotated[int, typer.Option("--trials", min=1, help="How often a few prompts are drawn at most.")] = 32,
    write: Annotated[
        bool, typer.Option("--write", help="Change the recipe's file; a diff is shown otherwise.")
    ] = False,
) -> None:
    """Propose what to keep or which scheme to raise so that targets that fail pass at the least size."""
    from pipeline import tune as tuning
    from pipeline.plan.model import chosen
    from pipeline.recipe.change import require_own_words

    with session.engine(recipe, hub) as engine:
        require_own_words(engine.loaded.text.decode("utf-8-sig"), str(recipe))
        found = []
        for name in chosen(engine.loaded.recipe, tuple(target or ())):
            found.append(tuning.tune(engine, name, trials))
            session.console.say(tuning.told(found[-1]))
        after = tuning.propose(engine.loaded, found, session.vocabulary)
    change = tuning.difference(engine.loaded, after)
    session.console.result({"tuned": [each.model_dump(mode="json") for each in found], "diff": change}, change)
    if write and change:
        tuning.rewrite(engine.loaded, after)
    if any(each.verdict != "PASS" and each.proposal is None for each in found):
        raise typer.Exit(VerdictError.exit_code)


@app.command()
def verify(
    repo: Annotated[str, typer.Argument(metavar="REPO", help="The published repository.")],
    *,
    revision: Annotated[str | None, typer.Option("--revision", help="A commit, branch or tag; default main.")] = None,
    hub: HubName = "",
    key: Annotated[Path | None, typer.Option("--key", help="The public key that should have signed, as PEM.")] = None,
    identity: Annotated[str, typer.Option("--identity", help="Who should have signed without a key.")] = "",
    issuer: Annotated[str, typer.Option("--issuer", help="Who vouches for that identity.")] = "",
    load: Annotated[bool, typer.Option(help="Whether to load it here as well.")] = True,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Make it again and compare the tensors.")] = False,
    recipe: Annotated[Path | None, typer.Option("--recipe", help="A recipe that it should be made of.")] = None,
) -> None:
    """Check as a consumer what the Hub serves: every byte, where it comes from, and whether it loads."""
    from pipeline.hub.client import Hub
    from pipeline.recipe.addresses import read_name
    from pipeline.release.signing import Expected
    from pipeline.verify.rebuild import ReleaseRebuild, workroom
    from pipeline.verify.verification import Wanted
    from pipeline.verify.verification import verify as verify_release

    if bool(identity) != bool(issuer) or (key and identity):
        raise RecipeError("Give --identity and --issuer together, or --key alone.")
    home, local = session.home(recipe), session.load(recipe) if recipe else None
    listen = session.console.listen
    with ExitStack() as stack:
        stack.enter_context(session.console)
        target, again = stack.enter_context(session.hub(home, hub)), None
        if rebuild:
            folder = stack.enter_context(workroom(home, listen))
            again = ReleaseRebuild(folder, target, Hub(listen=listen), listen, local).rebuild
        repo, revision = read_name(repo, revision, target.endpoint)
        wanted = Wanted(revision, Expected(key, identity, issuer), load, local, again)
        found, failure = verify_release(target, repo, wanted, home, session.vocabulary, listen)
    show_verified(session.console, found)
    if failure:
        raise failure


@app.command()
def yank(
    repo: Annotated[str, typer.Argument(metavar="REPO", help="The published repository.")],
    tag: Annotated[str, typer.Argument(metavar="TAG", help="The tag to withdraw; it stays.")],
    *,
    why: Annotated[str, typer.Option("--why", help="The reason, as text.")],
    new_version: Annotated[
        str | None, typer.Option("--new-version", metavar="REPO", help="The repository to use instead.")
    ] = None,
    hub: HubName = "",
) -> None:
    """Say in card and metadata that a tag is withdrawn; nothing is deleted."""
    from pipeline.recipe.addresses import read_name
    from pipeline.release.yank import yank as withdraw

    with session.hub(session.home(), hub) as target:
        repo, _ = read_name(repo, tag, target.endpoint)
        new_version = read_name(new_version, None, target.endpoint)[0] if new_version else None
        done = withdraw(target, repo, tag, why, new_version)
    how = "is withdrawn now" if done.state == "yanked" else "was withdrawn before, and nothing was changed"
    session.console.result({"result": done.model_dump(mode="json")}, f"{repo} {tag} {how}: {done.why}")


class Serving(TyperCommand):
    """The verb ``serve``, whose help explains faults; their language is loaded when somebody asks for it."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - as typer calls it
        """Write what stands below the options."""
        from pipeline.hub.local.faults import GRAMMAR

        formatter.write(f"\n{GRAMMAR}\n")


@app.command(cls=Serving)
def serve(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port on loopback.")] = 8080,
    fault: Annotated[
        list[str] | None, typer.Option("--fault", metavar="RULE", help="Fail on purpose; may be given again.")
    ] = None,
) -> None:
    """Run the embedded Hub on loopback, over the store in the home."""
    root = session.home() / "hub"
    from pipeline.hub.local import serve as serve_hub
    from pipeline.hub.local.faults import Faults, Seen

    def told(seen: Seen) -> None:
        if seen.rule is not None:
            session.console.say(f"fault: {seen.rule} for {seen.method} {seen.path}")

    faults = Faults(fault, told=told) if fault else None
    session.console.say(f"The embedded Hub serves {root} at http://127.0.0.1:{port} (Ctrl-C ends it).")
    serve_hub(root, port, faults)


def signer() -> Signer | None:
    """Return who signs what is released: the owner of the key that is named, else the workflow that this is."""
    from pipeline.release.signing import Signer, installed

    if key := os.environ.get("PUBLISH_SIGNING_KEY"):
        return Signer(Path(key).absolute())
    if os.environ.get("ACTIONS_ID_TOKEN_REQUEST_URL") and installed():
        return Signer(workload=os.environ.get("GITHUB_WORKFLOW_REF", "workflow"))
    return None


def guarded(call: Callable[[], int | None]) -> int:
    """Run the command and return the exit code that the design gives to how it ended."""
    try:
        code = call() or 0
    except PublishError as error:
        show_error(session.console, error, tracebacks=session.tracebacks)
        return error.exit_code
    except typer.TyperException as error:
        return show_usage(session.console, error)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:  # whatever else ends a run is a defect, and the user is told so
        return show_defect(session.console, error, session.log, tracebacks=session.tracebacks)
    if code == INTERRUPTED:
        session.console.say("interrupted; the same command continues where it stopped")
    return code


def main() -> None:
    """Run the command."""
    # Read by huggingface_hub when it is imported: progress is the console's.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    open_streams()
    logging.getLogger(LOG).addHandler(logging.NullHandler())  # what fails before there is a log is no traceback
    skip_gc_at_exit()
    try:
        code = guarded(lambda: app(standalone_mode=False))
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except OSError:  # a stream takes nothing more, so there is nobody to tell
        for number in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
        code = CannotHereError.exit_code
    sys.exit(code)


def open_streams() -> None:
    """Have stdout and stderr take whatever text there is, in any locale, also where a shell closed them."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  as long as we are
        cast("TextIOWrapper", getattr(sys, name)).reconfigure(errors="backslashreplace")
