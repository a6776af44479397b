"""Proxies: what the environment names is gone by, with every question and every byte, and told no token."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from huggingface_hub import CommitOperationAdd, close_session

from localhub.server import running
from pipeline.cli.context import embedded
from pipeline.errors import CannotHereError, HubUnavailableError
from pipeline.hub.client import Hub
from pipeline.hub.retry import RetryPolicy

HUB = "http://hub.invalid"  # no name of any machine: only the proxy knows where that is
HASTY = RetryPolicy(connect=5, silence=10, answer=10, progress=1, pause=0.05)
NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@dataclass
class Proxy:
    """A proxy that takes what is meant for one host to another."""

    address: str = ""
    target: str = ""
    asked: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    state = Proxy()

    class Handler(BaseHTTPRequestHandler):
        def forward(self) -> None:
            state.asked.append(f"{self.command} {self.path}")
            url = urlsplit(self.path)
            there = http.client.HTTPConnection(urlsplit(state.target).netloc)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            there.request(self.command, f"{url.path}?{url.query}", body, headers)
            answer = there.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in {"transfer-encoding", "content-length"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_HEAD = forward  # noqa: N815  the names that the library looks for

        def do_CONNECT(self) -> None:
            state.asked.append(f"CONNECT {self.path}")
            state.said += [f"{name}: {value}" for name, value in self.headers.items()]
            self.send_error(502)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    state.address = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """An environment without proxies, read anew by the one session of this process."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    close_session()
    yield monkeypatch
    close_session()


@pytest.fixture
def endpoint(tmp_path: Path, proxy: Proxy) -> Iterator[str]:
    with running(tmp_path / "hub") as address:
        api = Hub(address, token="local").api
        api.create_repo("alice/model")
        api.create_commit("alice/model", [CommitOperationAdd("config.json", b"{}")], commit_message="Add it")
        close_session()
        proxy.target = address
        yield address


@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY", "http_proxy"])
def test_doctor_and_run_go_by_the_proxy_of_the_environment(
    environment: pytest.MonkeyPatch, proxy: Proxy, endpoint: str, tmp_path: Path, name: str
) -> None:
    environment.setenv(name, proxy.address)
    hub = Hub(HUB, token="local", patience=HASTY)
    assert endpoint
    assert hub.reach() > 0
    commit = hub.find("alice/model", None)
    assert commit is not None
    source = hub.source("alice/model", commit)
    source.download("config.json", tmp_path / "to")
    opened = source.open("config.json")
    opened.read(0, memoryview(bytearray(2)))
    opened.close()
    assert (tmp_path / "to" / "config.json").read_bytes() == b"{}"
    assert all(f" {HUB}/" in asked for asked in proxy.asked)
    assert sum("/resolve/" in asked for asked in proxy.asked) == 2


def test_an_encrypted_hub_is_reached_through_the_proxy_which_sees_no_token(
    environment: pytest.MonkeyPatch, proxy: Proxy
) -> None:
    environment.setenv("HTTPS_PROXY", proxy.address)
    with pytest.raises(HubUnavailableError, match="502"):
        Hub("https://hub.invalid", token="hf_secret", patience=HASTY).find("alice/model", None)
    assert set(proxy.asked) == {"CONNECT hub.invalid:443"}
    assert not [line for line in proxy.said if "hf_secret" in line]


@pytest.mark.parametrize("apart", ["127.0.0.1", "*"])
def test_what_no_proxy_names_is_asked_directly(
    environment: pytest.MonkeyPatch, proxy: Proxy, endpoint: str, apart: str
) -> None:
    environment.setenv("HTTP_PROXY", proxy.address)
    environment.setenv("NO_PROXY", apart)
    assert Hub(endpoint, token="local", patience=HASTY).find("alice/model", None)
    assert proxy.asked == []


def test_the_embedded_hub_is_asked_directly_whatever_the_proxy(
    environment: pytest.MonkeyPatch, proxy: Proxy, tmp_path: Path
) -> None:
    environment.setenv("HTTP_PROXY", proxy.address)
    with embedded(tmp_path) as hub:
        assert hub.find("alice/model", None) is None
    assert proxy.asked == []


def test_a_proxy_that_nothing_here_can_talk_to_is_named(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ALL_PROXY", "gopher://127.0.0.1:1")
    with pytest.raises(CannotHereError, match="ALL_PROXY"):
        Hub(HUB, token="local", patience=HASTY).find("alice/model", None)
