"""The workflows hold no secret and no more rights than they need, and run nothing that is not tried elsewhere."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from ruamel.yaml import YAML

from pipeline.backends import BACKENDS

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").iterdir())
RIGHTS = {  # of each job; whoever adds a right to a workflow has to add it here, where it is seen
    ("check", "lint"): {"contents": "read"},
    ("check", "test"): {"contents": "read"},
    ("check", "recipes"): {"contents": "read"},
    ("comment", "comment"): {"contents": "read", "actions": "read", "pull-requests": "write"},
    ("nightly", "test"): {"contents": "read"},
    ("pages", "catalog"): {"contents": "read"},
    ("pages", "deploy"): {"pages": "write", "id-token": "write"},
    ("publish", "builds"): {"contents": "read", "id-token": "write"},
    ("publish", "recipe"): {"contents": "read", "id-token": "write", "attestations": "write"},
    ("recipe", "build"): {"contents": "read", "id-token": "write"},
    ("recipe", "release"): {"contents": "read", "id-token": "write", "attestations": "write"},
    ("watch", "look"): {"contents": "read", "issues": "read", "pull-requests": "read", "id-token": "write"},
    ("watch", "open"): {"contents": "write", "issues": "write", "pull-requests": "write"},
}


def parsed(name: str) -> Any:
    # YAML 1.2, in which `on` is a word.
    return YAML(typ="safe", pure=True).load(ROOT / ".github" / "workflows" / f"{name}.yml")


JOBS = {(path.stem, name): job for path in WORKFLOWS for name, job in parsed(path.stem)["jobs"].items()}
STEPS = [
    (f"{path}-{name}-{at}", job, step)
    for (path, name), job in JOBS.items()
    for at, step in enumerate(job.get("steps", ()))
]
RUNS = [pytest.param(job, step, id=f"{at}: {step['run']}") for at, job, step in STEPS if "run" in step]
each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
each_run = pytest.mark.parametrize(("job", "step"), RUNS)


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (text for pair in value.items() for part in pair for text in strings(part))
    elif isinstance(value, list):
        yield from (text for item in value for text in strings(item))
    elif isinstance(value, str):
        yield value


@each_workflow
def test_a_workflow_starts_without_any_right(path: Path) -> None:
    assert parsed(path.stem)["permissions"] == {}


def test_a_job_has_the_rights_that_it_needs_and_no_other() -> None:
    assert {at: job["permissions"] for at, job in JOBS.items()} == RIGHTS


@each_workflow
def test_no_secret_is_read(path: Path) -> None:
    text = "\n".join(strings(parsed(path.stem)))
    assert not re.search(r"\bsecrets\b|HF_TOKEN", text)
    # The token that GitHub gives to every job, with the rights above: only where something is opened is it handed on.
    assert bool(re.search(r"github\.token|GITHUB_TOKEN", text)) == (path.stem in {"comment", "watch"})


@each_workflow
def test_every_action_is_pinned_to_a_commit_and_says_which_version_it_is(path: Path) -> None:
    lines = [line.strip().removeprefix("- ") for line in path.read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if line.startswith("uses:")]
    used = [step["uses"] for at, _, step in STEPS if at.startswith(f"{path.stem}-") and "uses" in step]
    called = [job["uses"] for (at, _), job in JOBS.items() if at == path.stem and "uses" in job]
    assert len(lines) == len(used) + len(called) > 0
    # What is called of this repository is of the commit that calls.
    assert all(re.fullmatch(r"\$/\.github/workflows/\w+\.yml", name) for name in called)
    for line in lines:
        action = re.fullmatch(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)
        assert action or line.removeprefix("uses: ") in called, line


def test_an_action_has_the_same_commit_everywhere() -> None:
    used = {step["uses"] for _, _, step in STEPS if "uses" in step}
    assert len({action.partition("@")[0] for action in used}) == len(used)


def test_a_checkout_leaves_no_credentials_behind() -> None:
    checkouts = [step for _, _, step in STEPS if step.get("uses", "").startswith("actions/checkout@")]
    deploying = [("pages", "deploy")]  # which takes what another job has made
    assert len(checkouts) == len([at for at, job in JOBS.items() if "steps" in job and at not in deploying])
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_every_job_ends_by_itself() -> None:
    limits = {at: job["timeout-minutes"] for at, job in JOBS.items() if "steps" in job}
    assert limits.pop(("recipe", "build")) == 24 * 60  # on a runner of one's own; GitHub's end after six hours
    assert all(0 < limit <= 360 for limit in limits.values())


@each_workflow
def test_no_workflow_runs_with_our_rights_on_code_of_strangers(path: Path) -> None:
    workflow = parsed(path.stem)
    assert isinstance(workflow["on"], dict)
    known = {"pull_request", "push", "schedule", "workflow_dispatch", "workflow_call", "workflow_run"}
    assert workflow["on"].keys() <= known
    assert workflow["on"].get("push", {"branches": ["main"]})["branches"] == ["main"]
    rights = [right for job in workflow["jobs"].values() for right in job["permissions"].values()]
    assert "pull_request" not in workflow["on"] or "write" not in rights


def test_what_writes_a_comment_runs_nothing_of_the_pull_request() -> None:
    assert parsed("comment")["on"] == {"workflow_run": {"workflows": ["check"], "types": ["completed"]}}
    checkout, _, download, comment = parsed("comment")["jobs"]["comment"]["steps"]
    assert checkout["with"] == {"persist-credentials": False}  # and so it is main
    assert download["with"]["path"] == "${{ runner.temp }}/preview"  # beside the checkout
    assert comment["run"] == "make comment"
    (recipe,) = re.findall(r"^comment:(.*)\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe == ("", '\t@$(PYTHON) .github/comment.py "$$PREVIEW"\n')  # nothing is installed


def test_what_runs_the_newest_libraries_may_write_nothing_and_what_opens_installs_nothing() -> None:
    look, opener = parsed("watch")["jobs"].values()
    assert look["if"] == "github.ref == 'refs/heads/main'"
    assert opener["needs"] == "look"
    runs = [step["run"] for step in look["steps"] if "run" in step]
    assert runs == ["make opened", "make newest", "make reader", "make watch"]
    # GitHub's token is there before anything is installed, and not afterwards.
    assert [step["run"] for step in look["steps"] if "GITHUB_TOKEN" in step.get("env", {})] == ["make opened"]
    checkout, _, download, script = opener["steps"]
    assert checkout["with"] == {"persist-credentials": False}  # and so it is main
    assert download["with"]["path"] == "${{ runner.temp }}/findings"  # beside the checkout
    assert script["run"] == "make open"
    for target, verb in {"opened": "list", "open": "open"}.items():
        (recipe,) = re.findall(rf"^{target}:(.*)\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert recipe == ("", f'\t@$(PYTHON) .github/findings.py {verb} "$$FINDINGS"\n')
    assert "constraint" not in "".join(" ".join(command) for command in pip_commands("newest"))
    assert parsed("watch")["concurrency"] == {"group": "watch"}


def test_publishing_needs_the_environment_and_main() -> None:
    workflow, called = parsed("publish"), parsed("recipe")
    assert workflow["on"].keys() == {"push", "workflow_dispatch"}
    assert called["on"].keys() == {"workflow_call"}
    assert [at for at, job in JOBS.items() if "environment" in job] == [("pages", "deploy"), ("recipe", "release")]
    assert called["jobs"]["release"]["environment"] == "hub"
    assert workflow["jobs"]["recipe"]["needs"] == "builds"  # a job whose needs were skipped is skipped
    assert workflow["jobs"]["builds"]["if"] == "github.ref == 'refs/heads/main'"
    assert "always()" not in "".join(job.get("if", "") for job in JOBS.values())
    assert [at for at, job in JOBS.items() if "uses" in job] == [("publish", "recipe")]


def test_only_what_main_has_made_is_put_on_pages_and_by_a_job_that_runs_no_command() -> None:
    catalog, deploy = parsed("pages")["jobs"].values()
    assert catalog["if"] == "github.ref == 'refs/heads/main'"
    assert (deploy["needs"], deploy["environment"]["name"]) == ("catalog", "github-pages")
    assert [step["uses"].partition("@")[0] for step in deploy["steps"]] == ["actions/deploy-pages"]
    assert parsed("pages")["on"]["workflow_run"]["workflows"] == ["publish"]
    assert parsed("pages")["concurrency"]["cancel-in-progress"] is False


def test_merges_of_a_recipe_wait_for_each_other_and_no_release_is_given_up_midway() -> None:
    for job, group in {
        ("publish", "recipe"): "publish-${{ matrix.recipe }}",
        ("recipe", "release"): "release-${{ matrix.repository }}",
    }.items():
        assert JOBS[job]["concurrency"] == {"group": group, "cancel-in-progress": False, "queue": "max"}
        assert JOBS[job]["strategy"]["fail-fast"] is False
    assert not {"concurrency"} & {*parsed("publish"), *parsed("recipe")}


def test_what_passed_is_released_even_where_another_target_failed() -> None:
    build, release = parsed("recipe")["jobs"].values()
    after = build["steps"][[step.get("run") for step in build["steps"]].index("make build") + 1 :]
    assert len(after) == 2
    assert all("!cancelled()" in step["if"] for step in after)
    assert "!cancelled()" in release["if"]


def test_a_token_is_for_the_one_repository_that_is_published_and_another_reads_what_is_gated() -> None:
    holders = [(at, step) for at, _, step in STEPS if "HF_OIDC_RESOURCE" in step.get("env", {})]
    assert [(at.rpartition("-")[0], step["env"]["HF_OIDC_RESOURCE"]) for at, step in holders] == [
        ("publish-builds", "${{ vars.PUBLISH_READER }}"),
        ("recipe-build", "${{ vars.PUBLISH_READER }}"),
        ("recipe-release", "${{ vars.PUBLISH_READER }}"),
        ("recipe-release", "${{ matrix.repository }}"),
        ("watch-look", "${{ vars.PUBLISH_READER }}"),
    ]
    *readers, writer, watcher = (step["run"] for _, step in holders)
    assert {*readers, watcher} == {"make reader"}
    assert writer.startswith(".venv/bin/publish release ")
    assert "HF_OIDC_RESOURCE" not in "".join(str(job.get("env")) for job in JOBS.values())


def test_a_token_that_reads_is_masked_and_left_to_the_steps_after_it(tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho hf_jwt_it\n")
    python.chmod(0o700)
    command = ["make", "--silent", "reader", f"VENV={tmp_path / 'venv'}", f"BIN={python.parent}"]
    environment = {**os.environ, "GITHUB_ENV": str(tmp_path / "env")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "::add-mask::hf_jwt_it\n"
    assert (tmp_path / "env").read_text() == "SOURCE_TOKEN=hf_jwt_it\n"


def test_what_publishes_restores_no_cache() -> None:
    publishing = [step for at, _, step in STEPS if at.startswith(("publish-", "recipe-")) and "uses" in step]
    assert not [step for step in publishing if "cache" in step["uses"] or "cache" in step.get("with", {})]


def test_what_publishes_was_fetched_by_a_job_that_may_not_and_is_installed_without_an_index() -> None:
    release = parsed("recipe")["jobs"]["release"]["steps"]
    before = [step["run"] for step in release if "run" in step and not step["run"].startswith(".venv/bin/publish")]
    assert before == ["make publisher", "make reader"]
    moved = [
        (at.rpartition("-")[0], action, step["with"]["name"])
        for at, _, step in STEPS
        for action in ("upload", "download")
        if f"actions/{action}-artifact@" in step.get("uses", "") and at.startswith(("publish-", "recipe-"))
    ]
    assert moved == [
        ("publish-builds", "upload", "wheels"),
        ("recipe-build", "download", "wheels"),
        ("recipe-build", "upload", "${{ inputs.artifact }}"),
        ("recipe-release", "download", "wheels"),
        ("recipe-release", "download", "${{ inputs.artifact }}"),
    ]
    assert [at for at, _, step in STEPS if step.get("run") == "make wheels"] == ["publish-builds-2"]
    fetching = pip_commands("wheels")
    packages, program = pip_commands("publisher")
    assert all({"--require-hashes", "--no-deps"} <= {*command} for command in (*fetching, packages))
    assert all("--only-binary :all:" in " ".join(command) for command in (*fetching, packages))
    assert all("--no-index" in command for command in (packages, program))
    assert {"--no-deps", "--no-build-isolation", "."} <= {*program}


def pip_commands(target: str) -> list[list[str]]:
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=True)
    return [shlex.split(line) for line in done.stdout.splitlines() if " -m pip " in line]


def test_what_publishes_is_locked_at_the_tested_versions_by_hash_whole_and_without_the_tools_of_tests() -> None:
    lines = (ROOT / "requirements-publish.txt").read_text().splitlines()[1:]
    locked = dict(line.partition(" ")[0].split("==") for line in lines)
    assert all(re.fullmatch(r"[\w.-]+==\S+ --hash=sha256:[0-9a-f]{64}", line) for line in lines)
    tested = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines())
    tested = {canonicalize_name(name): version for name, version in tested.items()}
    assert {name: Version(version).public for name, version in locked.items()}.items() <= tested.items()
    assert needed(f"quantpress[{','.join(publishing())}]") == {*locked, "quantpress"}


def test_what_publishes_can_quantize_what_recipes_name() -> None:
    recipes = [*(ROOT / "recipes").glob("*.yaml"), *(ROOT / "recipes").glob("*/recipe.yaml")]
    named = {name for path in recipes for name in re.findall(r"backend: ([\w-]+)", path.read_text())}
    assert {BACKENDS[name].EXTRA for name in named} <= set(publishing())


def publishing() -> list[str]:
    """Return the extras that the publishing job installs."""
    (line,) = re.findall(r"^PUBLISHING := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return list(line.split())


def needed(text: str) -> set[str]:
    """Return the name of a requirement and of everything that its installed version needs."""
    known, left = set[str](), [text]
    while left:
        asked = left.pop()
        known.add(asked)
        left += {need for need in needs_of(Requirement(asked)) if need not in known}
    return {canonicalize_name(Requirement(each).name) for each in known}


def needs_of(requirement: Requirement) -> Iterator[str]:
    """Yield what the installed version of a distribution needs with the extras that are asked for."""
    for each in requires(requirement.name) or []:
        marker = Requirement(each).marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *requirement.extras)):
            yield each


@each_run
def test_a_command_takes_values_from_the_environment_only(job: Any, step: Any) -> None:
    assert "${{" not in step["run"]
    used = set(re.findall(r'"\$(\w+)"', step["run"]))
    assert used <= {*job.get("env", {}), *step.get("env", {})}
    assert "$" not in re.sub(r'"\$\w+"', "", step["run"]), "a variable stands in quotes of its own"


@each_run
def test_a_command_is_one_verb_or_one_make_target(job: Any, step: Any) -> None:
    program, verb, *rest = shlex.split(step["run"])
    assert not set("|&;<>`()\n") & set(step["run"])
    assert program in {"make", ".venv/bin/publish"}
    if program == "make":
        assert verb in make_targets()
        assert not rest
        return
    options = {word.partition("=")[0] for word in rest if word.startswith("-")}
    assert options <= options_of(verb)


@cache
def options_of(verb: str) -> set[str]:
    shown = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", verb, "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, f"publish has no verb {verb}"
    return set(re.findall(r"^\s+(--[\w-]+)", shown.stdout, re.MULTILINE))


def make_targets() -> set[str]:
    rules = re.findall(r"^([\w -]+):(?!=)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    return {target for rule in rules for target in rule.split()}


def test_pull_requests_are_linted_tested_and_their_recipes_checked_planned_and_tried() -> None:
    runs = {at: [step["run"] for step in job.get("steps", ()) if "run" in step] for at, job in JOBS.items()}
    assert "make lint" in runs["check", "lint"]
    assert "make test" in runs["check", "test"]
    assert runs["check", "recipes"][-3:] == ["make changed", "make preview", "make trial"]
    assert "pull_request" in parsed("check")["on"]


def test_what_is_compared_with_an_older_commit_has_the_history() -> None:
    comparing = [job for _, job, step in STEPS if "BASE" in {**job.get("env", {}), **step.get("env", {})}]
    assert comparing
    assert all(job["steps"][0]["with"]["fetch-depth"] == 0 for job in comparing)


def test_a_push_of_whatever_a_recipe_names_starts_the_publishing_of_it() -> None:
    assert parsed("publish")["on"]["push"]["paths"] == ["recipes/**"]
