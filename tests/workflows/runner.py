"""Runs the workflows as GitHub does, as far as they use it: jobs in order, matrices, outputs, artifacts and rights.

What is not a command is played: a checkout is a clone of one commit, an artifact a folder. What `pip` and `venv` do is
replaced by an environment that has this machine's packages and the checkout; everything else is what the steps say.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.hub_server.test_oidc import Actions
from tests.workflows.forge import token_of

ROOT = Path(__file__).parents[2]
# What decides over every change, and is run for every change: the same make targets, without another run of them here.
ELSEWHERE = ("make lint", "make browser", "make ggml", "make test", "make nightly")
MAIN = "refs/heads/main"
TOKENS = re.compile(r"\s*('(?:[^']|'')*'|&&|\|\||[!=]=|[!(),]|\[|\]|\d+|[A-Za-z_][\w-]*(?:\.[\w-]+)*)")
WORDS = {"&&": " and ", "||": " or ", "!": " not ", "true": "True", "false": "False"}
SHIM = """#!/bin/sh
# Python, but for what would take an index of packages: an environment is a copy of one that has this machine's.
case "$1 $2" in
"-m venv") cp -a {folder}/environment "$3" && pwd >"$(echo "$3"/lib/python*/site-packages)/checkout.pth" ;;
"-m pip") shift 2 && exec {folder}/bin/pip "$@" ;;
*) exec {python} "$@" ;;
esac
"""
PIP = """#!/bin/sh
case "$*" in
*--dry-run*) cat "$(dirname "$0")/newest.json" ;;
download*) mkdir -p build/wheels && touch build/wheels/one.whl ;;
*--find-links*) ls build/wheels/*.whl >/dev/null ;;
*--editable*)
    printf '#!%s\\nfrom pipeline.cli import main\\nmain()\\n' "$PWD/.venv/bin/python" >.venv/bin/publish
    chmod +x .venv/bin/publish
    ln -sfn ../cards pipeline/cards ;;
esac
"""
MODULE = "import os, sys\nos.execv({pip!r}, [{pip!r}, *sys.argv[1:]])\n"


def parsed(path: Path) -> Any:
    """Return a workflow by YAML 1.2, in which `on` is a word."""
    return YAML(typ="safe", pure=True).load(path)


def commands() -> list[str]:
    """Return the commands of all workflows, as they stand there."""
    jobs = [job for path in sorted((ROOT / ".github" / "workflows").iterdir()) for job in parsed(path)["jobs"].values()]
    return [step["run"] for job in jobs for step in job.get("steps", ()) if "run" in step]


@dataclass
class GitHub:
    """A repository on GitHub, with what its workflows see.

    Attributes:
        folder: Where all of it lies.
        hub: The Hub that HF_ENDPOINT names.
        actions: Vouches for jobs that may ask for it.
        api: The address of the REST API.
        variables: Of the repository.
        ran: Every command that was executed, or that decides elsewhere, as its workflow has it.
        attested: The SHA-256 of what was attested.
        summaries: What jobs wrote beneath themselves.
        failed: The jobs that failed.
    """

    folder: Path
    hub: str
    actions: Actions
    api: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)
    attested: list[str] = field(default_factory=list)
    summaries: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    run_id: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def repository(self) -> Path:
        return self.folder / "origin"

    @property
    def site(self) -> Path:
        """What is on Pages."""
        return self.folder / "pages"

    def git(self, *words: str, at: Path | None = None) -> str:
        ours = ("GIT_", "MAKE", "MFLAGS", "GITHUB_")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        clean |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *words]
        done = subprocess.run(
            command, cwd=at or self.repository, env=clean, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout.strip()

    def create(self) -> None:
        """Put this program, as it is here, into a new repository."""
        self.repository.mkdir(parents=True)
        listed = self.git("ls-files", "-z", "--cached", "--others", "--exclude-standard", at=ROOT).split("\0")
        for name in listed:
            if (ROOT / name).is_file() and not name.startswith(("tests/", "benchmarks/")):
                (self.repository / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, self.repository / name)
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("config", "uploadpack.allowAnySHA1InWant", "true")
        self.commit("Begin")
        (self.folder / "bin").mkdir()
        venv.create(self.folder / "environment", symlinks=True, with_pip=False)
        (site,) = self.folder.glob("environment/lib/python*/site-packages")
        (site / "installed.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
        (site / "pip").mkdir()
        (site / "pip" / "__init__.py").write_text("")  # or one of this machine's, which is a package, comes first
        (site / "pip" / "__main__.py").write_text(MODULE.format(pip=str(self.folder / "bin" / "pip")))
        real = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
        for name, text in {"python3.11": SHIM.format(python=real, folder=self.folder), "pip": PIP}.items():
            (self.folder / "bin" / name).write_text(text)
            (self.folder / "bin" / name).chmod(0o755)

    def commit(self, title: str, at: Path | None = None) -> str:
        self.git("add", "--all", at=at)
        self.git("commit", "--quiet", "--allow-empty", "--message", title, at=at)
        return self.git("rev-parse", "HEAD", at=at)

    def start(
        self, workflow: str, event_name: str, event: dict[str, Any], sha: str, ref: str = "refs/heads/main"
    ) -> Run:
        """Run a workflow for an event, as it stands at a commit."""
        run = Run(self, workflow, event_name, event, sha, ref, str(next(self.run_id)))
        run.jobs_of(f"{workflow}.yml", {})
        return run


@dataclass
class Run:
    """One run of a workflow."""

    github: GitHub
    workflow: str
    event_name: str
    event: dict[str, Any]
    sha: str
    ref: str
    run_id: str

    @property
    def folder(self) -> Path:
        return self.github.folder / f"run-{self.run_id}"

    @property
    def context(self) -> dict[str, Any]:
        github = {
            "event": self.event,
            "event_name": self.event_name,
            "ref": self.ref,
            "sha": self.sha,
            "run_id": self.run_id,
        }
        # A pull request of a fork sees no variable.
        known = {} if self.event_name == "pull_request" else self.github.variables
        return {"github": github, "vars": known, "inputs": self.event.get("inputs") or {}}

    def jobs_of(self, file: str, inputs: dict[str, Any]) -> None:
        """Run the jobs of a workflow's file one after another, as they need each other."""
        text = self.github.git("show", f"{self.sha}:.github/workflows/{file}")
        workflow = parsed_text(text)
        needs: dict[str, Any] = {}
        for name, job in workflow["jobs"].items():
            context = {**self.context, "needs": needs}
            if inputs:
                context["inputs"] = inputs
            wanted = [job["needs"]] if isinstance(job.get("needs"), str) else job.get("needs", [])
            well = all(needs[one]["result"] == "success" for one in wanted)
            if not condition(job.get("if", ""), context, well):
                needs[name] = {"result": "skipped", "outputs": {}}
                continue
            matrix = job.get("strategy", {}).get("matrix", {}).get("include")
            entries = filled(matrix, context) if matrix else [{}]
            results = [
                self.job(f"{file}-{name}", job, {**context, "matrix": one, "strategy": {"job-index": at}})
                for at, one in enumerate(entries)
            ]
            failed = [result for result in results if result["result"] != "success"]
            needs[name] = failed[0] if failed else results[-1] if results else {"result": "success", "outputs": {}}

    def job(self, at: str, job: dict[str, Any], context: dict[str, Any]) -> dict[str, Any]:
        """Run one job, and return its result and its outputs."""
        if "uses" in job:
            assert job["uses"].startswith("$/.github/workflows/")
            before = len(self.github.failed)
            self.jobs_of(job["uses"].rpartition("/")[2], filled(job["with"], context))
            return {"result": "success" if len(self.github.failed) == before else "failure", "outputs": {}}
        number = len(list(self.folder.glob("job-*")))
        done = Job(self, job, context, self.folder / f"job-{number}").finish()
        if done["result"] != "success":
            self.github.failed.append(at)
        return done


@dataclass
class Job:
    """One job, on a machine that has nothing of another one."""

    run: Run
    job: dict[str, Any]
    context: dict[str, Any]
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    said: str = ""

    @property
    def workspace(self) -> Path:
        return self.folder / "work"

    @property
    def temp(self) -> Path:
        return self.folder / "temp"

    def finish(self) -> dict[str, Any]:
        for place in (self.workspace, self.temp, self.folder / "home"):
            place.mkdir(parents=True)
        self.context |= {"runner": {"temp": str(self.temp)}, "steps": {}}
        self.context["github"] = {**self.context["github"], "token": token_of(self.job["permissions"])}
        assert not self.job.get("environment") or self.run.ref == MAIN
        well = True
        for step in self.job["steps"]:
            if not condition(step.get("if", ""), self.context, well):
                continue
            outputs, code = self.step(step)
            well = well and (code == 0 or step.get("continue-on-error", False))
            if "id" in step:
                self.context["steps"][step["id"]] = {"outputs": outputs}
        outputs = {name: filled(value, self.context) for name, value in self.job.get("outputs", {}).items()}
        if not well:
            sys.stderr.write(self.said)
        return {"result": "success" if well else "failure", "outputs": outputs}

    def step(self, step: dict[str, Any]) -> tuple[dict[str, str], int]:
        """Do one step, and return its outputs and its exit code."""
        if "uses" in step:
            action = step["uses"].partition("@")[0].rpartition("/")[2].replace("-", "_")
            getattr(self, action)(filled(step.get("with", {}), self.context))
            return {}, 0
        self.run.github.ran.append(step["run"])
        if step["run"] in ELSEWHERE:
            done = subprocess.run(["make", "--dry-run", *step["run"].split()[1:]], cwd=self.workspace, check=True)
            return {}, done.returncode
        return self.command(step)

    def command(self, step: dict[str, Any]) -> tuple[dict[str, str], int]:
        """Run a command in the environment that GitHub would give it."""
        files = {name: self.temp / f"_{name}" for name in ("GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        for file in files.values():
            file.write_text("")
        (self.temp / "_event.json").write_text(json.dumps(self.run.event))
        given = {**self.job.get("env", {}), **step.get("env", {})}
        here = {
            "PATH": f"{self.run.github.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.folder / "home"),
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": self.run.github.api,
            "GITHUB_EVENT_PATH": str(self.temp / "_event.json"),
            "GITHUB_REPOSITORY": "acme/recipes",
            "GITHUB_SERVER_URL": "https://github.example",
            "GITHUB_SHA": self.run.sha,
            "GITHUB_WORKFLOW_REF": f"acme/recipes/.github/workflows/{self.run.workflow}.yml@{self.run.ref}",
            "HF_ENDPOINT": self.run.github.hub,
            "OMP_NUM_THREADS": "1",
            **({name: os.environ[name] for name in ("HF_HUB_DISABLE_XET",) if name in os.environ}),
            **{name: str(path) for name, path in files.items()},
            **self.environment,
            **{name: as_text(filled(value, self.context)) for name, value in given.items()},
        }
        if "id-token" in self.job["permissions"]:
            here["ACTIONS_ID_TOKEN_REQUEST_URL"] = f"{self.run.github.actions.address}/id-token"
            here["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] = "runner"
            self.run.github.actions.job["workflow_ref"] = here["GITHUB_WORKFLOW_REF"]
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        done = subprocess.run(command, cwd=self.workspace, env=here, capture_output=True, text=True, check=False)
        self.said += f"$ {step['run']}\n{done.stdout}{done.stderr}"
        self.environment |= assigned(files["GITHUB_ENV"])
        if summary := files["GITHUB_STEP_SUMMARY"].read_text():
            self.run.github.summaries.append(summary)
        return assigned(files["GITHUB_OUTPUT"]), done.returncode

    def checkout(self, options: dict[str, Any]) -> None:
        git, origin = self.run.github.git, f"file://{self.run.github.repository}"
        git("init", "--quiet", at=self.workspace)
        depth = () if options.get("fetch-depth") == 0 else ("--depth", "1")
        git("fetch", "--quiet", *depth, origin, self.run.sha, at=self.workspace)
        git("checkout", "--quiet", "FETCH_HEAD", at=self.workspace)

    def setup_python(self, options: dict[str, Any]) -> None:
        assert options["python-version"] == "3.11"

    def upload_artifact(self, options: dict[str, Any]) -> None:
        origin, to = self.workspace / options["path"], self.run.folder / "artifacts" / options["name"]
        if not origin.exists():
            assert options.get("if-no-files-found") == "ignore", options
            return
        assert not to.exists(), "two artifacts of one name"
        if origin.is_dir():
            hidden = shutil.ignore_patterns() if options.get("include-hidden-files") else shutil.ignore_patterns(".*")
            shutil.copytree(origin, to, ignore=hidden)
        else:
            to.mkdir(parents=True)
            shutil.copy(origin, to)

    def download_artifact(self, options: dict[str, Any]) -> None:
        assert "run-id" not in options or "actions" in self.job["permissions"]
        run = self.run.github.folder / f"run-{options.get('run-id', self.run.run_id)}"
        shutil.copytree(run / "artifacts" / options["name"], self.workspace / options["path"])

    def upload_pages_artifact(self, options: dict[str, Any]) -> None:
        self.upload_artifact({"name": "github-pages", "path": options["path"]})

    def deploy_pages(self, options: dict[str, Any]) -> None:
        assert {"pages", "id-token"} <= self.job["permissions"].keys()
        assert self.job["environment"]["name"] == "github-pages"
        shutil.rmtree(self.run.github.site, ignore_errors=True)
        shutil.copytree(self.run.folder / "artifacts" / "github-pages", self.run.github.site)

    def attest_build_provenance(self, options: dict[str, Any]) -> None:
        assert {"id-token", "attestations"} <= self.job["permissions"].keys()
        self.run.github.attested.append(hashlib.sha256(Path(options["subject-path"]).read_bytes()).hexdigest())


def parsed_text(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def assigned(file: Path) -> dict[str, str]:
    """Return what a step wrote, one assignment a line."""
    return dict(line.split("=", 1) for line in file.read_text().splitlines())


def condition(text: str, context: Mapping[str, Any], well: bool) -> bool:
    """Return whether a job or a step is run; after a failure only what says that it is."""
    inner = text.strip().removeprefix("${{").removesuffix("}}") if text else "true"
    return bool(evaluated(inner, context)) and (well or "cancelled()" in text)


def filled(value: Any, context: Mapping[str, Any]) -> Any:
    """Return a value with its expressions replaced by what they are."""
    if isinstance(value, dict):
        return {name: filled(inner, context) for name, inner in value.items()}
    if not isinstance(value, str):
        return value
    if whole := re.fullmatch(r"\$\{\{((?:(?!\}\}).)*)\}\}", value):
        return evaluated(whole[1], context)
    return re.sub(r"\$\{\{(.*?)\}\}", lambda found: as_text(evaluated(found[1], context)), value)


def as_text(value: Any) -> str:
    return "" if value is None else str(value)


def evaluated(text: str, context: Mapping[str, Any]) -> Any:
    """Return what an expression is: it is Python's but for a few words."""
    functions: dict[str, Callable[..., Any]] = {
        "cancelled": lambda: False,
        "fromJSON": json.loads,
        "format": str.format,
        "look": lambda path: looked_up(path, context),
    }
    words, at, text = [], 0, text.strip()
    while at < len(text):
        found = TOKENS.match(text, at)
        assert found, text[at:]
        at, word = found.end(), found[1]
        called = text[at : at + 1] == "(" and word in functions
        if word[0].isalpha() and not called and word not in WORDS:
            word = f"look({word!r})"
        words.append(WORDS.get(word, word))
    return eval("".join(words), {"__builtins__": {}}, functions)  # noqa: S307  the workflows' own


def looked_up(path: str, context: Mapping[str, Any]) -> Any:
    value: Any = context
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return "" if value is None else value
