"""A CI job that a repository trusts publishes there without a stored token, and nothing else opens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from huggingface_hub import HfApi
from jwt.algorithms import RSAAlgorithm

from localhub.errors import LocalHubError
from localhub.server import running
from localhub.web import Limits
from tests.desk import XET

TOKENS = {
    "hf_alice": {"name": "alice", "role": "write", "orgs": ["my-org"]},
}
JOB = {
    "sub": "repo:acme/recipes:ref:refs/heads/main",
    "repository": "acme/recipes",
    "ref": "refs/heads/main",
    "workflow": "Publish",
    "workflow_ref": "acme/recipes/.github/workflows/publish.yml@refs/heads/main",
}
TRUSTED = {"workflow_ref": JOB["workflow_ref"]}
COMMIT = """
import sys
from huggingface_hub import HfApi
HfApi().upload_file(path_or_fileobj=b"from CI", path_in_repo="ci.txt", repo_id=sys.argv[1])
"""


class Actions:
    """Plays the part of GitHub that a job talks to: it signs what the job is, and publishes the key."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.job: dict[str, Any] = dict(JOB)
        self.asked: list[str] = []
        outer = self

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                content = json.dumps(outer.answer(self.path, self.headers.get("Authorization"))).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, path: str, authorization: str | None) -> dict[str, Any]:
        asked = urlsplit(path)
        if asked.path == "/.well-known/openid-configuration":
            return {"issuer": self.address, "jwks_uri": f"{self.address}/keys"}
        if asked.path == "/keys":
            return {"keys": [RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True) | {"kid": "k", "use": "sig"}]}
        assert (asked.path, authorization) == ("/id-token", "Bearer runner")
        return {"value": self.signed(parse_qs(asked.query)["audience"][0])}

    def signed(self, audience: Any, key: Any = None, **changed: Any) -> str:
        times = {"iat": int(time.time()), "exp": int(time.time()) + 300}
        claims = {"iss": self.address, "aud": audience, **times, **self.job, **changed}
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(claims, key or self.key, "RS256", headers={"kid": "k"})


@pytest.fixture
def actions() -> Iterator[Actions]:
    played = Actions()
    thread = threading.Thread(target=played.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield played
    played.server.shutdown()
    played.server.server_close()
    thread.join()


@pytest.fixture
def trusting(root: Path, actions: Actions) -> Path:
    """Write down whom the Hub trusts."""
    publisher = [{"issuer": actions.address, "claims": TRUSTED}]
    trusted = {"my-org/model": publisher, "guest": [{**publisher[0], "access": ["my-org/gated"]}]}
    root.mkdir()
    (root / "publishers.json").write_text(json.dumps(trusted))
    return root


@pytest.fixture
def hub(trusting: Path) -> Iterator[str]:
    with running(trusting, tokens=TOKENS) as endpoint:
        api = HfApi(endpoint=endpoint, token="hf_alice")
        for repo in ("my-org/model", "my-org/other", "my-org/gated"):
            api.create_repo(repo)
        api.create_repo("my-org/secret", private=True)
        api.update_repo_settings("my-org/gated", gated="manual")
        yield endpoint


def exchanged(hub: str, token: str, resource: str = "my-org/model") -> httpx2.Response:
    body = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
        "subject_token": token,
        "resource": resource,
    }
    return httpx2.post(f"{hub}/oauth/token", json=body)


def in_ci(tmp_path: Path, hub: str, actions: Actions, resource: str, repo: str) -> subprocess.CompletedProcess[str]:
    """Commit with the unmodified client as a job on GitHub does, without any token in its environment."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_ENDPOINT": hub,
        **XET,
        "HF_OIDC_RESOURCE": resource,
        "GITHUB_ACTIONS": "true",
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{actions.address}/id-token",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "runner",
    }
    command = [sys.executable, "-c", COMMIT, repo]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_trusted_job_commits_to_its_repository_with_the_unmodified_client(
    tmp_path: Path, hub: str, actions: Actions
) -> None:
    done = in_ci(tmp_path, hub, actions, "my-org/model", "my-org/model")
    assert done.returncode == 0, done.stderr
    api = HfApi(endpoint=hub, token="hf_alice")
    assert "ci.txt" in api.list_repo_files("my-org/model")
    assert api.list_repo_commits("my-org/model")[0].authors == ["my-org"]
    refused = in_ci(tmp_path, hub, actions, "my-org/other", "my-org/other")
    assert refused.returncode != 0
    assert "400" in refused.stderr


def test_the_token_of_a_repository_opens_nothing_else(hub: str, actions: Actions) -> None:
    answer = exchanged(hub, actions.signed(hub)).json()
    assert (answer["token_type"], answer["expires_in"]) == ("bearer", 3600)
    token = answer["access_token"]
    assert token.startswith("hf_jwt_")

    def status(method: str, path: str, **body: Any) -> int:
        return httpx2.request(method, f"{hub}{path}", headers={"Authorization": f"Bearer {token}"}, **body).status_code

    assert status("GET", "/api/models/my-org/model/auth-check/write") == 200
    assert status("GET", "/api/models/my-org/other") == 200
    assert status("GET", "/api/models/my-org/other/auth-check/write") == 403
    assert status("GET", "/api/models/my-org/secret") == 404
    assert status("GET", "/my-org/gated/resolve/main/.gitattributes") == 403
    assert status("DELETE", "/api/repos/delete", json={"name": "model", "organization": "my-org"}) == 403
    assert status("POST", "/api/repos/create", json={"name": "new", "organization": "my-org"}) == 403


def test_the_token_of_a_user_reads_what_is_gated_and_writes_nothing(hub: str, actions: Actions) -> None:
    token = exchanged(hub, actions.signed(hub), "guest").json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    for path, status in {
        "/my-org/gated/resolve/main/.gitattributes": 307,
        "/api/models/my-org/secret": 404,
        "/api/models/my-org/model/auth-check/write": 403,
    }.items():
        assert httpx2.get(f"{hub}{path}", headers=headers).status_code == status, path
    assert exchanged(hub, actions.signed(hub, workflow_ref="another"), "guest").status_code == 400


def test_a_token_for_somebody_else_forged_or_late_is_not_believed(hub: str, actions: Actions) -> None:
    now = int(time.time())
    public = actions.key.public_key().public_numbers().n.to_bytes(256, "big")
    wrong = {
        "another job": actions.signed(hub, workflow_ref=JOB["workflow_ref"].replace("publish", "other")),
        "audience": actions.signed("https://huggingface.co"),
        "one of many audiences": actions.signed([hub, "https://huggingface.co"]),
        "no audience": actions.signed(None),
        "late": actions.signed(hub, exp=now - 60),
        "for ever": actions.signed(hub, exp=None),
        "early": actions.signed(hub, iat=now + 600),
        "signature": actions.signed(hub, key=rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        "issuer": actions.signed(hub, iss="https://token.actions.githubusercontent.com"),
        "unsigned": jwt.encode({"iss": actions.address, "aud": hub, **JOB}, None, "none"),
        "symmetric": jwt.encode({"iss": actions.address, "aud": hub, **JOB}, public, "HS256", headers={"kid": "k"}),
        "no token": "nonsense",
    }
    for name, token in wrong.items():
        answer = exchanged(hub, token)
        assert token not in answer.text
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant"), name
    assert exchanged(hub, actions.signed(hub)).status_code == 200


def test_only_issuers_that_were_configured_are_asked_for_keys(hub: str, actions: Actions) -> None:
    stranger = Actions()
    stranger.server.server_close()
    assert exchanged(hub, stranger.signed(hub)).status_code == 400
    assert stranger.asked == actions.asked == []
    for _ in range(3):
        exchanged(hub, actions.signed(hub))
    assert sorted(actions.asked) == ["/.well-known/openid-configuration", "/keys"]


def test_a_token_expires(trusting: Path, actions: Actions) -> None:
    for seconds, status in ((60, 200), (-1, 401)):
        with running(trusting, tokens=TOKENS, limits=Limits(token_seconds=seconds)) as endpoint:
            token = exchanged(endpoint, actions.signed(endpoint)).json()["access_token"]
            headers = {"Authorization": f"Bearer {token}"}
            assert httpx2.get(f"{endpoint}/api/whoami-v2", headers=headers).status_code == status


@pytest.mark.parametrize("wrong", [{"issuer": "https://example.com", "claims": {}}, {"claims": {"sub": "a"}}, []])
def test_a_publisher_that_would_trust_anybody_is_refused(root: Path, wrong: Any) -> None:
    root.mkdir()
    (root / "publishers.json").write_text(json.dumps({"my-org/model": [wrong]}))
    with pytest.raises(LocalHubError, match=r"publishers\.json"), running(root):
        pass
