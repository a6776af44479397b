"""What lint refuses is neither published by us nor verified."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, cast

import pytest

from localhub.server import running
from pipeline.errors import VerificationError
from pipeline.events import silent
from pipeline.files import manifest_of, pretty_json
from pipeline.hub.client import Hub
from pipeline.recipe import Vocabulary
from pipeline.release.other_work import TAKE_NOTHING
from pipeline.release.stage import Publication, release
from pipeline.verify.verification import Verification, Wanted
from tests.desk import TOKENS, Shelf
from tests.lint.spoil import EVERYWHERE


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A checkpoint of which a scale has the wrong shape, with a manifest that is in order."""
    shutil.copytree(made / "bnb-int8", tmp_path / "build")
    EVERYWHERE["a scale has another shape"](tmp_path / "build")
    manifest = pretty_json(manifest_of(tmp_path / "build").model_dump(mode="json"))
    (tmp_path / "build" / "publish").mkdir()
    (tmp_path / "build" / "publish" / "manifest.json").write_bytes(manifest)
    return tmp_path / "build"


def test_a_folder_with_a_wrong_scale_is_refused_before_the_hub_is_asked(folder: Path, tmp_path: Path) -> None:
    publication = Publication("one", "0" * 64, "alice/model", folder, terms=TAKE_NOTHING)
    nobody = cast("Any", None)
    with pytest.raises(VerificationError, match="has the shape") as refused:
        release(publication, nobody, tmp_path / "aside", nobody, silent)
    assert "SCB" in refused.value.where


def test_a_release_with_a_wrong_scale_does_not_verify_however_well_it_is_listed(folder: Path, tmp_path: Path) -> None:
    with running(tmp_path / "hub", tokens=TOKENS) as endpoint:
        shelf = Shelf(endpoint, tmp_path / "hub", "")
        shelf.api.create_repo("alice/model")
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        commit = shelf.commit_files(files, "alice/model")
        vocabulary = cast("Vocabulary", None)
        hub = Hub(endpoint, token="alice")
        verification = Verification(hub, "alice/model", commit, folder, Wanted(load=False), vocabulary, silent)
        with pytest.raises(VerificationError, match="has the shape") as refused:
            verification.format()
    assert "alice/model@" in refused.value.where
