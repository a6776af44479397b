"""One release of a small folder to an embedded Hub that fails as it is told, then a plain one, in a process of its own.

A cell of the matrix is one request of a release and one fault that it meets. What is checked is what somebody who looks
at the Hub would see, never how the program got there.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hf_xet  # noqa: F401  once for all the forks
import huggingface_hub.hf_api  # noqa: F401
import numpy as np
from huggingface_hub import constants
from safetensors.numpy import save

from localhub.faults import Faults
from localhub.server import running
from localhub.web import Limits
from pipeline.errors import PublishError
from pipeline.files import manifest_of, pretty_json, write_atomically
from pipeline.hub.client import Hub
from pipeline.hub.retry import RetryPolicy
from pipeline.release.stage import Publication, release

REPO = "alice/tiny"
TOKENS = {"alice": {"name": "alice", "role": "write"}}
IMPATIENT = RetryPolicy(connect=2, silence=1, answer=1.5, progress=5, slowest=50_000, pause=0.02, longest_pause=0.2)
LONG = re.compile(r"[0-9a-f]{16,}|\b[0-9]{9,}\b")  # what differs from run to run: commits, digests, signatures, times
FAULTS = (
    "status=503",
    "status=500 body=<html>",
    "status=429 header=Retry-After:1",
    "status=403",
    "status=400",
    "moved",
    "expired",
    "drop",
    "reset",
    "cut-answer",
    "reset-answer",
    "lost",
    "hang=3",
    "hang-after=3",
    "slow=200000",
    "flip",
    "short",
    "ignore-range",
    "stale",
)
LATER = {0, 9}  # published all the same, or a later run continues
RIGHT = {  # how a release may end that meets a fault; every other one passes, so it is later
    "status=403": {0, 3},
    "expired": {0, 3},  # S3 says so by 403
    "status=400": {0, 70},  # a request that no Hub grants is a defect of whoever makes it
    "moved": {0, 8},
    "stale": {0, 8, 9},
    "flip": {0, 8, 9, 10},
}


@dataclass(frozen=True)
class Request:
    """The n-th request of a shape, as a rule finds it."""

    method: str
    pattern: str
    before: int

    @property
    def name(self) -> str:
        path = re.sub(r"\\(.)", r"\1", self.pattern.removeprefix("^").removesuffix("$")).replace(LONG_PATTERN, "*")
        return f"{self.method} {path.partition('?')[0].replace(REPO, '{R}')}"


LONG_PATTERN = "[0-9a-f]+"


@dataclass(frozen=True)
class Cell:
    """What became of a release that met a fault, and of the plain one after it."""

    request: str
    fault: str
    code: int
    told: str
    seconds: float
    wrong: str


def build(folder: Path, target: str = "one") -> Path:
    """Write what is published: small files and one that goes to the Hub's storage, the same for every cell."""
    content = b"".join(hashlib.sha256(f"{target} {number}".encode()).digest() for number in range(10_000))
    files = {
        "README.md": b"---\nlicense: mit\n---\n# Tiny\n",
        "model_index.json": b'{"_class_name": "TinyPipeline"}\n',
        "transformer/diffusion_pytorch_model.safetensors": save({"weight": np.frombuffer(content, np.uint8)}),
        "publish/plan.json": pretty_json({"target": target}),
    }
    for name, bytes_ in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes_)
    write_atomically(folder / "publish/manifest.json", pretty_json(manifest_of(folder).model_dump(mode="json")))
    return folder


@contextmanager
def world(faults: Faults, *, xet: bool) -> Any:
    """Run a new Hub and give a function that releases to it and returns the exit code and what was told."""
    with TemporaryDirectory(prefix="matrix-") as name:
        home = Path(name)
        os.environ |= {"HF_HOME": str(home / "hf")}
        constants.HF_HUB_DISABLE_XET = not xet
        folder = build(home / "build")
        with running(home / "hub", tokens=TOKENS, faults=faults, limits=Limits()) as endpoint:

            def publish() -> tuple[int, str]:
                hub = Hub(endpoint, token="alice", patience=IMPATIENT)
                try:
                    release(
                        Publication("one", "d" * 64, REPO, folder), hub, home / "aside", lambda *_: "", lambda _: None
                    )
                except PublishError as error:
                    return error.exit_code, str(error)
                return 0, ""

            yield publish, Hub(endpoint, token="alice"), folder


def requests(*, xet: bool) -> list[Request]:
    """Return every request of a release in which nothing goes wrong."""
    faults = Faults()
    with world(faults, xet=xet) as (publish, *_):
        assert publish() == (0, "")
    found: list[Request] = []
    for seen in faults.seen:
        pattern = "^" + re.escape(LONG.sub("LONG", seen.path)).replace("LONG", LONG_PATTERN) + "$"
        before = sum(1 for other in found if (other.method, other.pattern) == (seen.method, pattern))
        found.append(Request(seen.method, pattern, before))
    return found


def meet(request: Request, fault: str, times: str, *, xet: bool) -> Cell:
    """Release while one request meets a fault, then again without it, and look at the Hub."""
    rule = f"{request.method} {request.pattern} {fault} times={times} skip={request.before}"
    faults = Faults([rule])
    began = time.monotonic()
    with world(faults, xet=xet) as (publish, hub, folder):
        code, told = publish()
        faults.rules = ()
        right = RIGHT.get(fault, LATER) | (LATER if "/xet/" in request.name else set())  # hf_xet tells no status
        wrong = "" if code in right else f"exit {code}"
        wrong = wrong or look(hub, folder, done=code == 0)
        again, more = publish()
        wrong = wrong or (f"the plain run ends with {again}: {more}" if again else look(hub, folder, done=True))
    return Cell(request.name, fault, code, told, time.monotonic() - began, wrong)


def look(hub: Hub, folder: Path, *, done: bool) -> str:
    """Return what is wrong on the Hub: nothing, where all of it is there once or nothing of it is."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        titles = [commit.title for commit in hub.api.list_repo_commits(REPO)]
    except RepositoryNotFoundError:
        return "there is no repository" if done else ""
    pulls = [talk.status for talk in hub.api.get_repo_discussions(REPO, discussion_type="pull_request")]
    if len(pulls) > 1:
        return f"{len(pulls)} pull requests"
    if len(titles) == 1:
        return "nothing is published" if done else ""
    if len(titles) > 2:
        return f"commits {titles}"
    wrong = content_wrong(hub, folder) or tags_wrong(hub, done=done)
    return wrong or (f"a pull request is still {pulls[0]}" if done and pulls != ["closed"] else "")


def content_wrong(hub: Hub, folder: Path) -> str:
    """Compare main with what was built."""
    listed = hub.tree(REPO, "main")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    same = names == listed.keys() - {".gitattributes"} and all(listed[name].describes(folder / name) for name in names)
    return "" if same else "main is something else"


def tags_wrong(hub: Hub, *, done: bool) -> str:
    """Compare the tags with the one that there may be, or must."""
    refs = hub.api.list_repo_refs(REPO)
    head, tags = refs.branches[0].target_commit, {tag.name: tag.target_commit for tag in refs.tags}
    right = tags == {"v1": head} or (not tags and not done)
    return "" if right else f"tags {tags} with main at {head}"


def main() -> None:
    """Meet one cell; the arguments are its request as JSON, its fault, how often, and whether Xet is on."""
    request, fault, times, xet = sys.argv[1:]
    sys.stdout.write(json.dumps(asdict(meet(Request(**json.loads(request)), fault, times, xet=xet == "xet"))))


if __name__ == "__main__":
    main()
