"""A chat template that is a file is told in the tokenizer's config, too, which then says the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.source.chat_template import TEMPLATE, TOKENIZER, told, write
from pipeline.validate.consumer import _small_files
from pipeline.worker.child import WorkerError


def tokenizer(folder: Path, config: bytes = b'{"eos_token": "</s>"}', template: bytes = b"{{ messages }}\n") -> Path:
    folder.mkdir()
    (folder / TOKENIZER).write_bytes(config)
    (folder / TEMPLATE).write_bytes(template)
    return folder


def test_the_config_tells_what_the_file_says_and_nothing_else_changes(tmp_path: Path) -> None:
    source, result = tokenizer(tmp_path / "source"), tokenizer(tmp_path / "result")
    write(result, result)
    assert json.loads((result / TOKENIZER).read_bytes()) == {"eos_token": "</s>", "chat_template": "{{ messages }}\n"}
    assert (result / TEMPLATE).read_bytes() == b"{{ messages }}\n"
    assert _small_files(result) == _small_files(source)


@pytest.mark.parametrize("template", [b"{{ messages[0] }}", b"{{ messages }}"])
def test_another_template_in_the_config_is_another_file(tmp_path: Path, template: bytes) -> None:
    source, result = tokenizer(tmp_path / "source"), tokenizer(tmp_path / "result", template=template)
    write(result, result)
    (result / TEMPLATE).write_bytes((source / TEMPLATE).read_bytes())
    differing = {name for name, digest in _small_files(source).items() if _small_files(result)[name] != digest}
    assert differing == {TOKENIZER}


def test_a_template_of_the_config_stays(tmp_path: Path) -> None:
    folder = tokenizer(tmp_path / "one", b'{"chat_template": "own"}')
    write(folder, folder)
    assert told(folder) == json.loads((folder / TOKENIZER).read_bytes()) == {"chat_template": "own"}


def test_a_config_without_a_template_stays_as_it_is_and_none_becomes_none(tmp_path: Path) -> None:
    folder, out = tokenizer(tmp_path / "one"), tmp_path / "out"
    (folder / TEMPLATE).unlink()
    write(folder, out)
    assert (out / TOKENIZER).read_bytes() == b'{"eos_token": "</s>"}'
    write(tmp_path / "none", tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(("config", "template"), [(b"{", b""), (b"{}", b"\xff")])
def test_what_cannot_be_read_is_told(tmp_path: Path, config: bytes, template: bytes) -> None:
    with pytest.raises(WorkerError) as refusal:
        write(tokenizer(tmp_path / "one", config, template), tmp_path)
    assert "cannot be read" in refusal.value.what
