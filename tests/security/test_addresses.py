"""A Hub hands out addresses: none but the web is gone to, and the token goes to the Hub's origin alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import HubUnavailableError, PublishError, SourceError, VerificationError
from pipeline.hub.destination import Destination
from pipeline.hub.release_files import ReleaseFolder
from pipeline.hub.transport import require_safe
from tests.desk import REPO, WEIGHTS, needs_xet
from tests.security.conftest import Hostile, Recorder, answer

MINE = "alice/mine"


@pytest.fixture
def place(hostile: Hostile) -> Destination:
    found = Destination(hostile.hub, MINE)
    found.create(private=False)
    return found


@pytest.fixture
def build(tmp_path: Path) -> ReleaseFolder:
    """A folder with one file that is too large for a commit's own lines."""
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "model.safetensors").write_bytes(bytes(range(256)) * 100)
    return ReleaseFolder.of(tmp_path / "build")


def stage(place: Destination, build: ReleaseFolder) -> None:
    refs = place.refs()
    assert refs is not None
    place.stage(build, refs.head, "Publish it", lambda *_: None)


def elsewhere(tmp_path: Path) -> list[str]:
    """Return the addresses that a folder of this machine has."""
    (tmp_path / "trap").mkdir()
    return [f"{scheme}://{tmp_path}/trap" for scheme in ("local", "file", "ftp", "unix", "HTTPS+unix")]


def untouched(tmp_path: Path) -> bool:
    return not list((tmp_path / "trap").iterdir())


@needs_xet
@pytest.mark.parametrize("number", range(5))
def test_a_chunk_storage_that_is_no_web_address_is_not_written_to(
    hostile: Hostile, place: Destination, build: ReleaseFolder, tmp_path: Path, number: int
) -> None:
    address = elsewhere(tmp_path)[number]
    token = {"accessToken": "x", "exp": 9999999999, "casUrl": address}
    headers = {"X_Xet_Cas_Url": address, "X_Xet_Access_Token": "x", "X_Xet_Token_Expiration": "9999999999"}
    hostile.faults.rules = [answer("GET", "/xet-write-token/", token, **headers)]
    with pytest.raises((SourceError, VerificationError), match="scheme"):
        stage(place, build)
    assert untouched(tmp_path)


@needs_xet
@pytest.mark.parametrize("number", range(5))
def test_a_chunk_storage_that_is_no_web_address_is_not_read_from(hostile: Hostile, tmp_path: Path, number: int) -> None:
    address = elsewhere(tmp_path)[number]
    token = {"accessToken": "x", "exp": 9999999999, "casUrl": address}
    headers = {"X_Xet_Cas_Url": address, "X_Xet_Access_Token": "x", "X_Xet_Token_Expiration": "9999999999"}
    listed = {"type": "file", "path": WEIGHTS, "oid": "0" * 40, "size": 100, "xetHash": "0" * 64}
    listed["lfs"] = {"oid": "0" * 64, "size": 100, "pointerSize": 100}
    source = hostile.hub.source(REPO, hostile.commit)
    hostile.faults.rules = [answer("GET", "/xet-read-token/", token, **headers), answer("GET", "/tree/", [listed])]
    with pytest.raises((SourceError, VerificationError), match="scheme"):
        source.download(WEIGHTS, tmp_path / "out")
    assert untouched(tmp_path)


@pytest.mark.parametrize("number", range(5))
def test_an_upload_address_that_is_no_web_address_gets_nothing(
    hostile: Hostile, place: Destination, build: ReleaseFolder, tmp_path: Path, number: int
) -> None:
    (file,) = build.files.values()
    actions = {"upload": {"href": elsewhere(tmp_path)[number]}}
    objects = [{"oid": file.sha256, "size": file.size, "actions": actions}]
    hostile.faults.rules = [
        answer("GET", "/xet-write-token/", "", 404),
        answer("POST", "/objects/batch", {"transfer": "basic", "objects": objects}),
    ]
    with pytest.raises((SourceError, VerificationError), match="scheme"):
        stage(place, build)
    assert untouched(tmp_path)


@pytest.mark.parametrize("address", ["file:///etc/hostname", "local:///etc/hostname", "ftp://127.0.0.1/x"])
def test_a_redirect_to_something_else_than_the_web_reads_nothing(hostile: Hostile, address: str) -> None:
    hostile.faults.rules = [answer("GET|HEAD", "/resolve/", "", 302, Location=address)]
    source = hostile.hub.source(REPO, hostile.commit)
    with pytest.raises(SourceError):
        source.read("model_index.json", 0, 100)


def test_an_encrypted_hub_names_no_plain_address() -> None:
    require_safe("https://cas.example/x", "https://hub.example")
    require_safe("http://127.0.0.1:1/x", "http://127.0.0.1:2")
    for address in ("http://cas.example", "local:///x", "file:///x", "//x", "cas.example", "javascript:x", ""):
        with pytest.raises(SourceError, match="scheme"):
            require_safe(address, "https://hub.example")


def test_a_storage_on_another_origin_never_sees_the_token(hostile: Hostile, recorder: Recorder, tmp_path: Path) -> None:
    source = hostile.hub.source(REPO, hostile.commit)
    hostile.faults.rules = [answer("GET|HEAD", "/resolve/", "", 302, Location=f"{recorder.endpoint}/bytes")]
    with pytest.raises(SourceError, match="It has 2 bytes"):
        source.read("model_index.json", 0, 2)
    with pytest.raises(PublishError):
        source.download("model_index.json", tmp_path / "out")
    assert recorder.requests
    assert recorder.tokens == []


def test_an_api_call_that_is_sent_elsewhere_leaves_the_token_behind(hostile: Hostile, recorder: Recorder) -> None:
    hostile.faults.rules = [answer("*", "/api/", "", 307, Location=f"{recorder.endpoint}/api/x")]
    for ask in (lambda hub: hub.find(REPO, None), lambda hub: hub.state(REPO), lambda hub: hub.tree(REPO, "main")):
        try:
            ask(hostile.hub)
        except (PublishError, TypeError, KeyError, AttributeError):
            continue
    assert recorder.tokens == []


def test_upload_addresses_elsewhere_never_see_the_token(
    hostile: Hostile, recorder: Recorder, place: Destination, build: ReleaseFolder
) -> None:
    """The client would send the token to the address that verifies an upload, wherever that is."""
    (file,) = build.files.values()
    actions = {"upload": {"href": f"{recorder.endpoint}/put"}, "verify": {"href": f"{recorder.endpoint}/verify"}}
    objects = [{"oid": file.sha256, "size": file.size, "actions": actions}]
    hostile.faults.rules = [
        answer("GET", "/xet-write-token/", "", 404),
        answer("POST", "/objects/batch", {"transfer": "basic", "objects": objects}),
    ]
    with pytest.raises(PublishError):
        stage(place, build)
    assert [path for path, _ in recorder.requests][:1] == ["PUT /put"]
    assert recorder.tokens == []


@needs_xet
def test_a_chunk_storage_elsewhere_never_sees_the_token(
    hostile: Hostile, recorder: Recorder, place: Destination, build: ReleaseFolder
) -> None:
    token = {"accessToken": "xet", "exp": 9999999999, "casUrl": recorder.endpoint}
    hostile.faults.rules = [answer("GET", "/xet-write-token/", token)]
    with pytest.raises((PublishError, HubUnavailableError)):
        stage(place, build)
    assert recorder.requests
    assert recorder.tokens == []
