"""A source is somebody else's: its names, its pickles and its words do nothing here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import pipeline
from pipeline.errors import SourceError
from pipeline.events import silent
from pipeline.source.fetch import fetch
from pipeline.source.layout import read_source
from pipeline.store import Store
from tests.desk import REPO, WEIGHTS
from tests.security.conftest import Hostile, answer

BLOB = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
NAMES = [
    ["/etc/cron.d/x"],
    ["../../x"],
    ["transformer/../../x"],
    ["transformer\\..\\..\\x"],
    ["C:/x"],
    ["README.md", "readme.md"],
    ["transformer/config.json", "Transformer/config.json"],
    ["x\u0000.json"],
    ["x\u001b[2J.json"],
    ["caf\u00e9.json", "cafe\u0301.json"],
    [".git/hooks/post-checkout"],
]


def listed(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "file", "path": name, "oid": BLOB, "size": 0, **more}


@pytest.mark.parametrize("names", NAMES, ids=lambda names: ascii(names[0]))
def test_a_listing_with_such_names_is_refused_before_anything_is_read(
    hostile: Hostile, tmp_path: Path, names: list[str]
) -> None:
    true = [listed(name) for name in hostile.hub.tree(REPO, hostile.commit) if name not in names]
    hostile.faults.rules = [answer("GET", "/tree/", [*true, *map(listed, names)])]
    hostile.faults.seen.clear()
    before = set(tmp_path.iterdir())
    with pytest.raises(SourceError) as caught:
        read_source(hostile.hub.source(REPO, hostile.commit))
    assert caught.value.exit_code == 4
    assert not [seen for seen in hostile.faults.seen if "/resolve/" in seen.path]
    assert set(tmp_path.iterdir()) == before


def test_pickles_are_left_on_the_hub(hostile: Hostile, tmp_path: Path) -> None:
    pickles = [
        "transformer/diffusion_pytorch_model.bin",
        "vae/model.ckpt",
        "whole.pt",
        "text_encoder/pytorch_model.bin",
    ]
    commit = hostile.commit_files(dict.fromkeys(pickles, b"\x80\x04cposix\nsystem\n."))
    source = hostile.hub.source(REPO, commit)
    wanted = read_source(source).wanted
    assert not set(wanted) & set(pickles)
    hostile.faults.seen.clear()
    folder = fetch(source, {name: source.files[name] for name in wanted}, Store(tmp_path / "store"), silent)
    assert (folder / WEIGHTS).is_file()
    assert not [path for path in folder.rglob("*") if path.suffix in {".bin", ".ckpt", ".pt", ".pkl"}]
    assert not [seen.path for seen in hostile.faults.seen if any(name in seen.path for name in pickles)]


def test_a_source_of_pickles_alone_is_refused(hostile: Hostile) -> None:
    pickle = "transformer/diffusion_pytorch_model.bin"
    commit = hostile.commit_files({WEIGHTS: None, pickle: b"\x80\x04."})
    with pytest.raises(SourceError) as caught:
        read_source(hostile.hub.source(REPO, commit))
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("word", ["trust_remote_code", "import pickle", "torch.load(", "eval(", "exec(", "shell=True"])
def test_the_program_has_no_word_for_running_what_a_source_brings(word: str) -> None:
    files = list(Path(pipeline.__file__).parent.rglob("*.py"))
    assert len(files) > 50
    texts = {file: file.read_text().replace("trust_remote_code=False", "") for file in files}
    found = [str(file) for file, text in texts.items() if re.search(rf"(?<![\w.]){re.escape(word)}", text)]
    assert found == []
