"""Paths, digests and writes that other people's names and full disks cannot bend."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import CannotHereError, SourceError
from pipeline.files import (
    ListedFile,
    canonical_json,
    digest_of,
    disk_errors,
    git_blob_sha1,
    human_size,
    link_or_copy,
    manifest_of,
    safe_listing,
    safe_relative,
    write_atomically,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=4))
@settings(max_examples=50)
def test_a_digest_does_not_depend_on_the_order_of_keys(value: dict[str, object]) -> None:
    assert digest_of(value) == digest_of(dict(reversed(value.items())))


def test_canonical_json_is_one_fixed_spelling() -> None:
    assert canonical_json({"b": [1, 2.5], "a": "é"}) == '{"a":"é","b":[1,2.5]}'.encode()
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json(float("nan"))


@given(st.text(max_size=30))
def test_a_safe_name_stays_inside_its_folder(name: str) -> None:
    try:
        safe = safe_relative(name)
    except SourceError:
        return
    assert (Path("/home/store") / safe).resolve().is_relative_to("/home/store")
    assert safe.as_posix() == name


@pytest.mark.parametrize("name", ["", "/a", "../a", "a/../../b", "a//b", "./a", "a/.git/config", "a\\b", "c:a", "a\nb"])
def test_a_name_that_could_mean_another_place_is_refused(name: str) -> None:
    with pytest.raises(SourceError):
        safe_relative(name)


@pytest.mark.parametrize(
    "names",
    [
        ["a", "A"],
        ["a/b", "A/c"],
        ["a", "a/b"],
        ["A/b", "a"],
        ["\u00e9", "e\u0301"],
        ["a\x1b[2Jb"],
        ["../a"],
    ],
)
def test_a_listing_that_some_disk_cannot_hold_is_refused(names: list[str]) -> None:
    for order in (names, names[::-1]):
        with pytest.raises(SourceError):
            safe_listing(order)


def test_a_common_listing_is_safe() -> None:
    safe_listing([".gitattributes", "README.md", "a/b.json", "a/c.json", "a/console.txt", "publish/plan.json"])


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_says_where_and_what_to_do() -> None:
    with pytest.raises(CannotHereError) as caught, disk_errors(Path("/somewhere")):
        raise OSError(28, "No space left on device")
    assert str(caught.value).startswith("/somewhere: The disk took no more bytes")
    with pytest.raises(FileNotFoundError), disk_errors(Path("/somewhere")):
        raise FileNotFoundError


def test_a_manifest_lists_every_file_by_content_and_refuses_links(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two").write_bytes(b"22")
    (tmp_path / "a").write_bytes(b"1")
    manifest = manifest_of(tmp_path)
    assert list(manifest.files) == ["a", "b/two"]
    assert manifest.files["b/two"].sha256 == hashlib.sha256(b"22").hexdigest()
    assert manifest.size == 3
    (tmp_path / "c").symlink_to(tmp_path / "a")
    with pytest.raises(SourceError, match="link"):
        manifest_of(tmp_path)


def test_git_names_a_blob_as_we_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"some\ncontent\n")
    said = subprocess.run(["git", "hash-object", "file"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == git_blob_sha1(b"some\ncontent\n")


def test_a_listed_file_is_told_from_another_of_its_size(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"right")
    for listed in (
        ListedFile(size=5, sha256=hashlib.sha256(b"right").hexdigest()),
        ListedFile(size=5, git_sha1=git_blob_sha1(b"right")),
        ListedFile(size=5, blake3=blake3(b"right").hexdigest()),
    ):
        path.write_bytes(b"right")
        assert listed.describes(path)
        path.write_bytes(b"wrong")
        assert not listed.describes(path)


def test_linking_keeps_one_copy_on_a_disk(tmp_path: Path) -> None:
    (tmp_path / "origin").write_bytes(b"content")
    link_or_copy(tmp_path / "origin", tmp_path / "deep" / "copy")
    assert (tmp_path / "origin").samefile(tmp_path / "deep" / "copy")


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (24e9, "24.0 GB")])
def test_sizes_are_told_in_powers_of_ten(count: float, text: str) -> None:
    assert human_size(count) == text
