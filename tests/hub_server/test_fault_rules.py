"""Rules say which requests meet a fault, are refused with the valid words, and are what ``publish serve`` takes."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from localhub.errors import FaultSyntaxError
from localhub.faults import KINDS, Faults, Rule
from localhub.faults.acts import ACTS
from localhub.server import running

FILE = "/alice/model/resolve/main/a.txt"
INFO = "/api/models/alice/model"


# The language.


def test_a_rule_is_read_with_everything_that_a_line_can_say() -> None:
    line = r"GET|POST ^/api/\w+ status=503 header=Retry-After:1 header='X-Why: a b' body='<p>No, no</p>'"
    rule = Rule.parse(f"{line} times=always skip=2")
    assert rule.matches("POST", "/api/models")
    assert not rule.matches("PUT", "/api/models")
    assert not rule.matches("GET", "/datasets/api/models")
    assert (str(rule), rule.skip, rule.times) == ("status=503", 2, float("inf"))
    assert rule.headers == (("Retry-After", "1"), ("X-Why", "a b"))
    assert rule.body == "<p>No, no</p>"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("GET /x", "less than three words"),
        ("GTE /x drop", "no method 'GTE'"),
        ("GET ( drop", "unterminated subpattern"),
        ("GET /x dorp", "no kind 'dorp'"),
        ("GET /x status=99", "from 200 to 599"),
        ("GET /x slow=0", "from 1"),
        ("GET /x drop tims=1", "no option 'tims=1'"),
        ("GET /x status=503 'header=A:b\nB:c'", "no option 'header="),
    ],
)
def test_what_is_no_rule_is_refused_with_the_words_that_are_valid_there(line: str, told: str) -> None:
    with pytest.raises(FaultSyntaxError, match=re.escape(told)) as caught:
        Rule.parse(line)
    assert repr(line) in str(caught.value)
    assert "The kinds are status=CODE, moved, expired" in str(caught.value)


def test_every_kind_has_an_act() -> None:
    assert set(ACTS) == set(KINDS)


# Which request meets which rule.


def test_a_rule_skips_then_takes_and_is_used_up(failing: str, faults: Faults) -> None:
    faults.rules = [f"GET ^{FILE} status=503 skip=1 times=2"]
    assert [httpx2.get(failing + FILE).status_code for _ in range(5)] == [307, 503, 503, 307, 307]
    assert httpx2.get(failing + INFO).status_code == 200


def test_rules_for_one_path_act_one_after_the_other_and_can_be_replaced(failing: str, faults: Faults) -> None:
    faults.rules = [f"GET {FILE} status=503", f"GET {FILE} status=429", f"GET {FILE} status=500 times=always"]
    assert [httpx2.get(failing + FILE).status_code for _ in range(4)] == [503, 429, 500, 500]
    faults.rules = []
    assert httpx2.get(failing + FILE).status_code == 307


def test_what_was_asked_of_both_origins_is_seen_with_the_rule_it_met(failing: str, faults: Faults) -> None:
    faults.rules = ["GET ^/objects/ slow=100000000"]
    faults.seen.clear()
    httpx2.get(f"{failing}/alice/model/resolve/main/m.bin?download=true", follow_redirects=True)
    first, second = faults.seen
    assert first == ("GET", "/alice/model/resolve/main/m.bin?download=true", "hub", None)
    assert (second.method, second.origin, second.rule) == ("GET", "storage", faults.rules[0])


def test_requests_can_be_told_instead_of_kept(root: Path) -> None:
    told: list[str] = []
    faults = Faults(told=lambda seen: told.append(seen.path))
    with running(root, faults=faults) as endpoint:
        httpx2.get(f"{endpoint}/api/whoami-v2")
    assert (told, faults.seen) == (["/api/whoami-v2"], [])


# The command.


def test_serve_fails_as_it_is_told_and_says_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    serve = [sys.executable, "-m", "pipeline.cli", "--home", str(tmp_path), "serve", "--port", port]
    rules = ["--fault", "GET whoami status=418", "--fault", "GET whoami drop skip=1"]
    with subprocess.Popen([*serve, *rules], stderr=subprocess.PIPE, text=True) as process:
        address = f"http://127.0.0.1:{port}/api/whoami-v2"
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with suppress(httpx2.ConnectError):
                assert httpx2.get(address).status_code == 418
                break
            time.sleep(0.05)
        assert httpx2.get(address).status_code == 200
        with pytest.raises(httpx2.RemoteProtocolError):
            httpx2.get(address)
        process.terminate()
        told = process.communicate(timeout=10)[1].splitlines()
    assert process.returncode == 0
    faults = ["fault: status=418 for GET /api/whoami-v2", "fault: drop for GET /api/whoami-v2"]
    assert [line for line in told if line.startswith("fault: ")] == faults
    assert f"The embedded Hub serves {tmp_path / 'hub'} at http://127.0.0.1:{port} (Ctrl-C ends it)." in told


def test_serve_does_not_say_that_it_serves_where_its_port_is_taken(tmp_path: Path) -> None:
    serve = [sys.executable, "-m", "pipeline.cli", "--home", str(tmp_path), "serve", "--port"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run([*serve, str(port)], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert f"Port {port} cannot be opened" in line


def test_a_wrong_rule_ends_serve_before_it_begins(tmp_path: Path) -> None:
    serve = [sys.executable, "-m", "pipeline.cli", "--home", str(tmp_path), "serve", "--fault"]
    done = subprocess.run([*serve, "GET /x dorp"], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2
    assert "error: fault 'GET /x dorp': This is no rule: there is no kind 'dorp'. A RULE is METHOD PATH" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]


def test_the_help_of_serve_explains_every_fault() -> None:
    serve = [sys.executable, "-m", "pipeline.cli", "serve", "--help"]
    shown = subprocess.run(serve, capture_output=True, text=True, check=True, timeout=30).stdout
    for name, kind in KINDS.items():
        assert re.search(rf"^  {re.escape(name + kind.takes)} +{re.escape(kind.means)}$", shown, re.MULTILINE)
