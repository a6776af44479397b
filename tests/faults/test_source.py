"""A source that is missing, refused, corrupt or unsafe ends in 4, with a paragraph that says what, where, what next."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localhub.records import Blob
from localhub.store import Store
from pipeline.events import Event
from tests.desk import REPO, WEIGHTS, Desk
from tests.faults.conftest import Same

Edit = Callable[[dict[str, Any], bytes], bytes]


def split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header and the tensors of a safetensors file."""
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header: dict[str, Any] | bytes, tensors: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + tensors


def some(header: dict[str, Any]) -> dict[str, Any]:
    """Return the entry of one tensor, to be changed."""
    return dict(header["proj_out.weight"])


def truncated(header: dict[str, Any], tensors: bytes) -> bytes:
    return joined(header, tensors[:-100])


def overlapping(header: dict[str, Any], tensors: bytes) -> bytes:
    entry = some(header)
    begin, end = entry["data_offsets"]
    return joined({**header, "proj_out.weight": {**entry, "data_offsets": [begin - 64, end - 64]}}, tensors)


def wrong_size(header: dict[str, Any], tensors: bytes) -> bytes:
    return joined({**header, "proj_out.weight": {**some(header), "dtype": "F32"}}, tensors)


def unknown_dtype(header: dict[str, Any], tensors: bytes) -> bytes:
    return joined({**header, "proj_out.weight": {**some(header), "dtype": "F7"}}, tensors)


def gigabytes(header: dict[str, Any], tensors: bytes) -> bytes:
    return struct.pack("<Q", 5 << 30) + joined(header, tensors)[8:]


def no_json(header: dict[str, Any], tensors: bytes) -> bytes:
    return joined(json.dumps(header).encode()[:-1], tensors)


def duplicate_keys(header: dict[str, Any], tensors: bytes) -> bytes:
    twice = json.dumps({"proj_out.weight": some(header)})[1:-1]
    return joined(json.dumps(header)[:-1].encode() + b", " + twice.encode() + b"}", tensors)


def missing_tensor(header: dict[str, Any], tensors: bytes) -> bytes:
    kept = {name: entry for name, entry in header.items() if name != "proj_out.weight"}
    return joined(kept, tensors)


@pytest.mark.parametrize(
    "edit",
    [truncated, overlapping, wrong_size, unknown_dtype, gigabytes, no_json, duplicate_keys, missing_tensor],
    ids=lambda edit: edit.__name__,
)
def test_a_safetensors_file_that_lies_is_refused_before_it_is_downloaded(
    desk: Desk, source: Path, same: Same, edit: Edit
) -> None:
    commit = desk.shelf.commit_files({WEIGHTS: edit(*split((source / WEIGHTS).read_bytes()))})
    error = desk.refused(desk.recipe(source={"repo": REPO, "revision": commit}))
    assert error.exit_code == 4
    assert not (desk.home / "store").exists()
    same(edit.__name__, desk.plain(str(error)))


@pytest.mark.parametrize(("value", "name"), [(b"\xc0\x7f", "nan"), (b"\x80\xff", "inf")])
def test_a_weight_that_is_no_number_is_refused_by_name(
    desk: Desk, source: Path, same: Same, value: bytes, name: str
) -> None:
    header, tensors = split((source / WEIGHTS).read_bytes())
    begin = header["proj_out.weight"]["data_offsets"][0]
    spoilt = tensors[:begin] + value + tensors[begin + 2 :]
    commit = desk.shelf.commit_files({WEIGHTS: joined(header, spoilt)})
    error = desk.refused(desk.recipe(source={"repo": REPO, "revision": commit}))
    assert error.exit_code == 4
    assert not (desk.home / "store" / "checkpoint").exists()
    same(name, desk.plain(str(error)))


def test_a_source_that_does_not_exist(desk: Desk, same: Same) -> None:
    done = desk.publish("plan", desk.recipe(source={"repo": "acme/tyni", "revision": desk.shelf.commit}))
    assert done.code == 4
    same("no_repository", desk.plain(done.error))


def test_a_commit_that_is_not_there(desk: Desk, same: Same) -> None:
    error = desk.refused(desk.recipe(source={"repo": REPO, "revision": "0" * 40}))
    assert error.exit_code == 4
    same("no_commit", desk.plain(str(error)))


def test_a_source_that_is_gated_for_this_token(desk: Desk, same: Same) -> None:
    desk.shelf.api.update_repo_settings(REPO, gated="auto")
    desk.token = "carol"
    error = desk.refused(desk.recipe())
    assert error.exit_code == 4
    same("gated", desk.plain(str(error)))


def test_a_source_that_is_private(desk: Desk, same: Same) -> None:
    desk.shelf.api.update_repo_settings(REPO, private=True)
    desk.token = "carol"
    error = desk.refused(desk.recipe())
    assert error.exit_code == 4
    same("private", desk.plain(str(error)))


def test_a_private_source_of_a_public_result_is_told_in_the_plan(desk: Desk) -> None:
    desk.shelf.api.update_repo_settings(REPO, private=True)
    for destination, told in ((None, True), ({"private": True}, False)):
        heard: list[Event] = []
        desk.engine(desk.recipe(destination=destination), heard.append).plan("one")
        notes = [event.text for event in heard if event.kind == "note"]
        assert (
            f"{REPO}@{desk.shelf.commit[:12]} is private, and alice/tiny-one is to be public unless the recipe says "
            "`destination: {private: true}`" in notes
        ) is told


def test_pickles_are_never_read(desk: Desk, same: Same) -> None:
    commit = desk.shelf.commit_files({WEIGHTS: None, WEIGHTS.replace(".safetensors", ".bin"): b"\x80\x04."})
    error = desk.refused(desk.recipe(source={"repo": REPO, "revision": commit}))
    assert error.exit_code == 4
    same("pickles", desk.plain(str(error)))


def test_an_index_that_names_a_missing_shard(desk: Desk, same: Same) -> None:
    index = {"metadata": {}, "weight_map": {"proj_out.weight": "diffusion_pytorch_model-00001-of-00002.safetensors"}}
    named = {WEIGHTS: None, f"{WEIGHTS}.index.json": json.dumps(index).encode()}
    error = desk.refused(desk.recipe(source={"repo": REPO, "revision": desk.shelf.commit_files(named)}))
    assert error.exit_code == 4
    same("missing_shard", desk.plain(str(error)))


def test_an_index_that_names_a_file_elsewhere(desk: Desk, same: Same) -> None:
    index = {"metadata": {}, "weight_map": {"proj_out.weight": "../../.bashrc"}}
    named = {WEIGHTS: None, f"{WEIGHTS}.index.json": json.dumps(index).encode()}
    error = desk.refused(desk.recipe(source={"repo": REPO, "revision": desk.shelf.commit_files(named)}))
    assert error.exit_code == 4
    same("index_climbs", desk.plain(str(error)))


def test_a_file_name_that_climbs_out_of_its_folder(desk: Desk, same: Same) -> None:
    """The embedded Hub refuses such an upload, so the tree is written into its store behind its back."""
    repository = Store(desk.shelf.root).find("models", REPO)
    files = dict(repository.tree_at(desk.shelf.commit).files)
    files["../../escaped.json"] = Blob(*files["model_index.json"])
    with repository.changing() as state:
        commit = repository.add_commit(files, [desk.shelf.commit], ("Climb", ""), "mallory").oid
        state.refs["refs/heads/main"] = commit
    error = desk.refused(desk.recipe(source={"repo": REPO, "revision": commit}))
    assert error.exit_code == 4
    assert not list(desk.home.parent.rglob("escaped.json"))
    same("climbs", desk.plain(str(error)))


def test_a_source_whose_bytes_changed_on_the_hub(desk: Desk, same: Same) -> None:
    blob = Store(desk.shelf.root).find("models", REPO).tree_at(desk.shelf.commit).files[WEIGHTS]
    flip(desk.shelf.object(blob.sha256))
    error = desk.refused(desk.recipe())
    assert error.exit_code == 4
    assert not (desk.home / "store" / "fetch").exists()
    same("flipped_source", desk.plain(str(error)))


def test_a_folder_that_is_not_there(desk: Desk, same: Same) -> None:
    error = desk.refused(desk.recipe(source={"path": "models/nowhere"}))
    assert error.exit_code == 4
    same("no_folder", desk.plain(str(error)))


def flip(path: Path) -> None:
    """Change the last byte of a file."""
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
