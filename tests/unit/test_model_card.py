"""The metadata of a source's card: what the Hub's client reads is repeated, and what it cannot read is refused."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import RepoCard
from huggingface_hub.repocard import metadata_load

from pipeline.errors import SourceError
from pipeline.files import ListedFile, git_blob_sha1
from pipeline.source.layout import Folder
from pipeline.source.model_card import REPEATED, front_matter, repeated_fields

FIELDS = "license: other\nlicense_name: its-own-1.0\nlicense_link: LICENSE.md\n"
TEXTS = {
    "plain": f"---\n{FIELDS}---\n# Title\n",
    "a blank line before it": f"\n---\n{FIELDS}---\n# Title\n",
    "blank lines and spaces before it": f"\n \t\n  ---\n{FIELDS}---\n",
    "a byte order mark": f"\ufeff---\n{FIELDS}---\n",
    "a mark and a blank line": f"\ufeff\n---\n{FIELDS}---\n",
    "lines of Windows": f"---\n{FIELDS}---\n# Title\n".replace("\n", "\r\n"),
    "lines of old Macs": f"---\n{FIELDS}---\n# Title\n".replace("\n", "\r"),
    "mixed lines": f"---\r\n{FIELDS}---\n",
    "spaces behind the first line": f"--- \n{FIELDS}---\n",
    "spaces behind the last line": f"---\n{FIELDS}---  \n# Title\n",
    "a tab behind the last line": f"---\n{FIELDS}---\t\n# Title\n",
    "no line after it": f"---\n{FIELDS}---",
    "a heading before it": f"# Title\n---\n{FIELDS}---\n",
    "four dashes before it": f"----\n{FIELDS}---\n",
    "four dashes in it": f"---\n{FIELDS}----\n---\n",
    "dots at its end": f"---\n{FIELDS}...\n# Title\n",
    "no end": f"---\n{FIELDS}# Title\n",
    "two documents": f"---\n{FIELDS}---\nlicense: mit\n---\n",
    "nothing in it": "---\n---\n# Title\n",
    "a blank line in it": "---\n\n---\n# Title\n",
    "a comment alone": "---\n# license: mit\n---\n",
    "comments": f"---\n# of whom\n{FIELDS}language: en # and no other\n---\n",
    "nothing": "",
    "text alone": "# Title\n\nlicense: mit\n",
    "a key that is there twice": "---\nlicense: mit\nlicense: apache-2.0\n---\n",
    "a key within": "---\nmodel:\n  license: mit\n---\n",
    "a list": "---\n- license: mit\n---\n",
    "a text": "---\nlicense\n---\n",
    "a broken list": "---\nlicense: [mit\n---\n",
    "a tab that indents": "---\nlicense:\n\t- mit\n---\n",
    "a date elsewhere": f"---\n{FIELDS}date: 2026-01-01\n---\n",
    "no date at all": f"---\n{FIELDS}date: 2026-13-41\n---\n",
    "a tag that is none": f"---\n{FIELDS}date: !!timestamp soon\n---\n",
    "a number that is none": f"---\n{FIELDS}date: !!int ''\n---\n",
    "a tag of Python": f"---\n{FIELDS}date: !!python/name:os.system\n---\n",
    "a list of licenses": "---\nlicense: [mit, apache-2.0]\nlanguage:\n- en\n- de\n---\n",
    "quotes": "---\nlicense: 'mit'\nlanguage: \"no\"\n---\n",
    "a number": "---\nlicense: other\nlicense_name: 1.0\n---\n",
    "an empty license": "---\nlicense:\nlanguage: en\n---\n",
    "a folded text": "---\nlicense: >-\n  other\n  license\n---\n",
    "anchors": "---\nx: &mine other\nlicense: *mine\n---\n",
    "merged keys": "---\nx: &mine {license: mit}\n<<: *mine\n---\n",
    "letters of others": "---\nlicense: other\nlicense_name: l\u00efcence\n---\n",
}
READMES = {name: text.encode() for name, text in TEXTS.items()} | {
    "bytes that are no UTF-8": b"---\nlicense: mit\n---\n\xff\xfe",
    "UTF-16": f"---\n{FIELDS}---\n".encode("utf-16"),
}


def read_by_the_client(content: bytes, folder: Path) -> dict[str, Any] | None:
    """Return what the client finds, or None where it refuses to read."""
    path = folder / "README.md"
    path.write_bytes(content)
    try:
        found = metadata_load(path) or {}
        other = RepoCard.load(path).data.to_dict()  # which finds no end of metadata in lines of old Macs
        assert other.get("license", found.get("license")) == found.get("license")
    except (yaml.YAMLError, ValueError, AttributeError, IndexError):
        return None
    return {key: value for key, value in found.items() if value is not None}


@pytest.mark.parametrize("name", READMES)
def test_the_client_and_a_derived_card_read_one_license(name: str, tmp_path: Path) -> None:
    content = READMES[name]
    found = read_by_the_client(content, tmp_path)
    if found is None:
        with pytest.raises(SourceError, match="cannot be read"):
            front_matter(content, "acme/tiny")
        return
    read = front_matter(content, "acme/tiny")
    assert {key: read.get(key) for key in REPEATED} == {key: as_text(found.get(key)) for key in REPEATED}


def as_text(value: Any) -> Any:
    return str(value) if isinstance(value, float) else value


def test_the_code_of_norwegian_is_no_truth_value() -> None:
    assert front_matter(b"---\nlanguage: no\n---\n", "x") == {"language": "no"}
    assert front_matter(b"---\nlanguage:\n- en\n- no\n---\n", "x") == {"language": ["en", "no"]}
    with pytest.raises(SourceError, match="license is neither"):
        front_matter(b"---\nlicense: no\n---\n", "x")


class Listed:
    """A repository that lists one README and serves another now and then."""

    where = "acme/tiny@0123456789ab"

    def __init__(self, listed: bytes, served: Iterable[bytes]) -> None:
        self.files = {"README.md": ListedFile(size=len(listed), git_sha1=git_blob_sha1(listed))}
        self.served = iter(served)

    def read(self, name: str, offset: int, length: int) -> bytes:
        return next(self.served)[offset : offset + length]

    def listed(self, names: Iterable[str]) -> dict[str, ListedFile]:
        return {name: self.files[name] for name in names}


def test_only_a_readme_that_the_hub_lists_is_repeated() -> None:
    right, wrong = b"---\nlicense: other\n---\n", b"---\nlicense: apach\n---\n"
    assert repeated_fields(Listed(right, [wrong, right])) == {"license": "other"}
    with pytest.raises(SourceError, match=r"bytes of README\.md are not those"):
        repeated_fields(Listed(right, [wrong, wrong]))


def test_a_source_without_a_card_says_nothing(tmp_path: Path) -> None:
    assert repeated_fields(Folder(tmp_path)) == {}
