"""The part of GitHub's REST API that the workflows' scripts use, over a real repository of git."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

BOT = "github-actions[bot]"
TOKEN = "ghs_"


def token_of(permissions: dict[str, str]) -> str:
    """Return the token of a job, which says what it may do."""
    return TOKEN + "+".join(f"{right}:{how}" for right, how in sorted(permissions.items()))


class RefusedError(Exception):
    """GitHub refuses, with this status."""


@dataclass
class Forge:
    """What GitHub knows of the repository acme/recipes.

    Attributes:
        repository: Its folder.
        pulls: The open pull requests, by what a listing has of them.
        issues: Issues and pull requests, open or closed.
        comments: Each with the number of the pull request that it is beneath.
        asked: Every request.
        artifacts: The names of what a run left, by its number.
        pulls_allowed: Whether workflows may open pull requests.
        broken: The numbers of issues that cannot be changed for now.
    """

    repository: Path | None = None
    pulls: list[dict[str, Any]] = field(default_factory=list)
    issues: list[dict[str, Any]] = field(default_factory=list)
    comments: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    artifacts: dict[str, list[str]] = field(default_factory=dict)
    pulls_allowed: bool = True
    broken: set[int] = field(default_factory=set)

    @property
    def open(self) -> list[dict[str, Any]]:
        return [one for one in self.issues if one["state"] == "open"]

    def git(self, *words: str, given: str = "", **further: str) -> str:
        assert self.repository
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        clean |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", **further}
        command = ["git", "-c", f"user.name={BOT}", "-c", "user.email=bot@example.org", *words]
        done = subprocess.run(
            command, cwd=self.repository, env=clean, input=given, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RefusedError(422, done.stderr)
        return done.stdout.removesuffix("\n")

    def answer(self, method: str, address: str, body: Any, rights: set[str]) -> Any:
        """Answer one request, or refuse it."""
        self.asked.append(f"{method} {address}")
        split = urlsplit(address)
        assert split.path.startswith("/repos/acme/recipes/")
        first, *rest = unquote(split.path).removeprefix("/repos/acme/recipes/").split("/")
        query = {key: values[0] for key, values in parse_qs(split.query).items()}
        needs = {"git": ["contents"], "commits": ["contents"], "pulls": ["pull-requests"], "actions": ["actions"]}
        allowed = needs.get(first, ["issues", "pull-requests"])
        if not any(f"{right}:{how}" in rights for right in allowed for how in ("write", "read" * (method == "GET"))):
            raise RefusedError(403, "Resource not accessible by integration")
        return getattr(self, f"{method}_{first}".lower())(rest, query, body)

    def get_pulls(self, _: list[str], query: dict[str, str], __: Any) -> Any:
        return [pull for pull in self.pulls if pull["head"]["label"] == query["head"]]

    def post_pulls(self, _: list[str], __: dict[str, str], body: Any) -> Any:
        if not self.pulls_allowed:
            raise RefusedError(403, "GitHub Actions is not permitted to create or approve pull requests.")
        opened = self.post_issues([], {}, {"title": body["title"], "body": body["body"]})
        opened["pull_request"] = {}
        assert body["base"] == "main"
        sha = self.git("rev-parse", f"refs/heads/{body['head']}")
        self.pulls.append({"number": opened["number"], "head": {"sha": sha, "label": f"acme:{body['head']}"}})
        return opened

    def get_issues(self, path: list[str], query: dict[str, str], _: Any) -> Any:
        if path:
            beneath = [one for one in self.comments if one["beneath"] == int(path[0])]
            return beneath if query["page"] == "1" else []
        assert query["state"] == "all"
        ours = [one for one in self.issues if one["user"]["login"] == query["creator"]]
        return ours if query["page"] == "1" else []

    def post_issues(self, path: list[str], _: dict[str, str], body: Any) -> Any:
        if path:
            told = {"id": len(self.comments), "beneath": int(path[0]), "user": {"login": BOT}, **body}
            self.comments.append(told)
            return {}
        made = {"number": len(self.issues) + 2, "state": "open", "user": {"login": BOT}, **body}
        self.issues.append(made)
        return made

    def patch_issues(self, path: list[str], _: dict[str, str], body: Any) -> Any:
        if path[0].isdigit() and int(path[0]) in self.broken:
            raise RefusedError(502, "Bad gateway")
        if path[0] == "comments":
            self.comments[int(path[1])] |= body
        else:
            (one,) = (one for one in self.issues if one["number"] == int(path[0]))
            one |= body
        return {}

    def get_actions(self, path: list[str], query: dict[str, str], _: Any) -> Any:
        kind, run, what = path
        assert (kind, what) == ("runs", "artifacts")
        named = [name for name in self.artifacts[run] if name == query["name"]]
        return {"artifacts": [{"id": 77, "name": name, "expired": False} for name in named]}

    def get_commits(self, path: list[str], _: dict[str, str], __: Any) -> Any:
        return {"author": {"login": self.git("show", "--no-patch", "--format=%an", path[0])}}

    def get_git(self, path: list[str], _: dict[str, str], __: Any) -> Any:
        if path[0] == "commits":
            return {"tree": {"sha": self.git("rev-parse", f"{path[1]}^{{tree}}")}}
        assert path[0] == "matching-refs"
        listed = self.git("for-each-ref", "--format=%(refname) %(objectname)").splitlines()
        refs = [line.split() for line in listed if line.startswith(f"refs/{'/'.join(path[1:])}")]
        return [{"ref": ref, "object": {"sha": sha}} for ref, sha in refs]

    def post_git(self, path: list[str], _: dict[str, str], body: Any) -> Any:
        assert self.repository
        if path == ["trees"]:
            index = {"GIT_INDEX_FILE": str(self.repository / ".git" / "played")}
            self.git("read-tree", body["base_tree"], **index)
            for one in body["tree"]:
                blob = self.git("hash-object", "-w", "--stdin", given=one["content"])
                entry = f"{one['mode']},{blob},{one['path']}"
                self.git("update-index", "--add", "--cacheinfo", entry, **index)
            return {"sha": self.git("write-tree", **index)}
        if path == ["commits"]:
            parents = [word for parent in body["parents"] for word in ("-p", parent)]
            return {"sha": self.git("commit-tree", body["tree"], *parents, "-m", body["message"])}
        assert path == ["refs"]
        self.git("update-ref", body["ref"], body["sha"], "0" * 40)  # which must not be there
        return {}

    def delete_git(self, path: list[str], _: dict[str, str], __: Any) -> Any:
        self.git("update-ref", "-d", "/".join(path))
        return {}

    def patch_git(self, path: list[str], _: dict[str, str], body: Any) -> Any:
        assert body["force"] is True
        self.git("update-ref", "/".join(path), body["sha"])
        for pull in self.pulls:
            if pull["head"]["label"] == f"acme:{'/'.join(path[2:])}":
                pull["head"]["sha"] = body["sha"]
        return {}


@contextmanager
def serving(played: Forge) -> Iterator[str]:
    """Serve it, and yield its address."""

    class Answers(BaseHTTPRequestHandler):
        def do(self) -> None:
            kind, _, token = self.headers["Authorization"].partition(" ")
            assert kind == "Bearer"
            assert token.startswith(TOKEN)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or "null")
            try:
                status, answer = (
                    200,
                    played.answer(self.command, self.path, body, {*token.removeprefix(TOKEN).split("+")}),
                )
            except RefusedError as error:
                status, answer = error.args[0], {"message": error.args[1]}
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_DELETE = do  # noqa: N815  as http.server calls them

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
