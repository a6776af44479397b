"""Several Hubs in one process: each waits in its own manner, and none ends what another is doing."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from localhub.faults import Faults
from localhub.server import running
from pipeline.errors import HubUnavailableError
from pipeline.events import Event
from pipeline.hub.client import Hub
from pipeline.hub.retry import RetryPolicy

ROUNDS, AT_ONCE = 60, 8


def test_hubs_that_are_made_in_threads_break_no_request_of_each_other(tmp_path: Path) -> None:
    faults = Faults()
    with running(tmp_path / "hub", faults=faults) as endpoint, ThreadPoolExecutor(AT_ONCE) as threads:
        Hub(endpoint, token="local").api.create_repo("alice/model")
        for _ in range(ROUNDS):
            pair = Hub(endpoint, token="local"), Hub(endpoint, token="local")
            found = list(threads.map(lambda number: pair[number % 2].find("alice/model", None), range(AT_ONCE)))  # noqa: B023
            assert len(set(found)) == 1
    asked = [seen for seen in faults.seen if seen.path.startswith("/api/models/alice/model")]
    assert len(asked) == ROUNDS * AT_ONCE  # one that breaks is asked again


def test_each_hub_is_waited_for_as_it_says_and_tells_its_own_listener(tmp_path: Path) -> None:
    faults = Faults(("GET /refs status=503 header=Retry-After:3 times=always",))
    heard: dict[str, list[Event]] = {"hasty": [], "patient": []}
    with running(tmp_path / "hub", faults=faults) as endpoint:
        Hub(endpoint, token="local").api.create_repo("alice/model")
        hasty = Hub(endpoint, token="local", patience=RetryPolicy(progress=1), listen=heard["hasty"].append)
        patient = Hub(endpoint, token="local", patience=RetryPolicy(progress=5), listen=heard["patient"].append)
        began = time.monotonic()
        with ThreadPoolExecutor(2) as threads:
            ends = [threads.submit(hub.state, "alice/model") for hub in (patient, hasty)]
            with pytest.raises(HubUnavailableError):
                ends[1].result()
            with pytest.raises(HubUnavailableError):
                ends[0].result()
        assert time.monotonic() - began >= 3
    assert heard["hasty"] == []
    assert "asking again" in heard["patient"][0].text
