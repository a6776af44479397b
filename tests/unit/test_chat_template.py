"""A chat template that is a file is told in the tokenizer's config, too, which then says the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.errors import SourceError
from pipeline.source.chat_template import TEMPLATE, TOKENIZER, tell, told
from pipeline.validate.consumer import _small_files


def tokenizer(folder: Path, config: bytes = b'{"eos_token": "</s>"}', template: bytes = b"{{ messages }}\n") -> Path:
    folder.mkdir()
    (folder / TOKENIZER).write_bytes(config)
    (folder / TEMPLATE).write_bytes(template)
    return folder


def test_the_config_tells_what_the_file_says_and_nothing_else_changes(tmp_path: Path) -> None:
    source, result = tokenizer(tmp_path / "source"), tokenizer(tmp_path / "result")
    tell(result)
    assert json.loads((result / TOKENIZER).read_bytes()) == {"eos_token": "</s>", "chat_template": "{{ messages }}\n"}
    assert (result / TEMPLATE).read_bytes() == b"{{ messages }}\n"
    assert _small_files(result) == _small_files(source)


@pytest.mark.parametrize("template", [b"{{ messages[0] }}", b"{{ messages }}"])
def test_another_template_in_the_config_is_another_file(tmp_path: Path, template: bytes) -> None:
    source, result = tokenizer(tmp_path / "source"), tokenizer(tmp_path / "result", template=template)
    tell(result)
    (result / TEMPLATE).write_bytes((source / TEMPLATE).read_bytes())
    differing = {name for name, digest in _small_files(source).items() if _small_files(result)[name] != digest}
    assert differing == {TOKENIZER}


def test_a_template_of_the_config_stays(tmp_path: Path) -> None:
    folder = tokenizer(tmp_path / "one", b'{"chat_template": "own"}')
    tell(folder)
    assert told(folder) == json.loads((folder / TOKENIZER).read_bytes()) == {"chat_template": "own"}


def test_a_folder_without_both_files_is_left_alone(tmp_path: Path) -> None:
    (tokenizer(tmp_path / "one") / TEMPLATE).unlink()
    tell(tmp_path / "one")
    assert (tmp_path / "one" / TOKENIZER).read_bytes() == b'{"eos_token": "</s>"}'


@pytest.mark.parametrize(("config", "template"), [(b"{", b""), (b"{}", b"\xff")])
def test_what_cannot_be_read_is_told(tmp_path: Path, config: bytes, template: bytes) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        tell(tokenizer(tmp_path / "one", config, template))
