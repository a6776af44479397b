"""A served card is what plan and report make, letter for letter, and above it the notices of withdrawals."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.card.compose import USAGE_NOTES
from pipeline.errors import VerificationError
from pipeline.files import FileEntry, Manifest, pretty_json
from pipeline.hub.release_files import CARD, MANIFEST, PLAN, REPORT, USAGE, YANKED
from pipeline.hub.withdrawn import Shown, Withdrawal, Withdrawals
from pipeline.release.card_again import require_same
from pipeline.release.documents import Documents
from pipeline.release.yank import banner, with_banner
from tests.verify.conftest import VOCABULARY

ADDRESS = "https://hub.example"
OTHER = "alice/tiny-two"
V1 = Withdrawal(commit="1" * 40, plan="a", why="It draws 6 fingers [see](#12).", new_version=OTHER)
V2 = Withdrawal(commit="2" * 40, plan="b", why="It is slow")


@dataclass(frozen=True)
class Served:
    """The card and the documents of a release, in a folder where they may be changed."""

    folder: Path

    @property
    def card(self) -> str:
        return (self.folder / CARD).read_bytes().decode()

    def write(self, text: str, name: str = CARD) -> None:
        (self.folder / name).write_bytes(text.encode())

    def change(self, old: str, new: str, name: str = CARD) -> None:
        text = (self.folder / name).read_bytes().decode()
        assert text.count(old) >= 1
        self.write(text.replace(old, new, 1), name)

    def document(self, name: str, **changes: Any) -> None:
        path = self.folder / name
        path.write_bytes(pretty_json(json.loads(path.read_bytes()) | changes))

    def line_of(self, text: str) -> int:
        return self.card[: self.card.index(text)].count("\n") + 1

    def withdraw(self, tags: Mapping[str, Withdrawal], shown: str, notices: Sequence[str], to: str = ADDRESS) -> None:
        """Write a card as withdrawals left it, of which those in ``notices`` are above it, the newest last."""
        card = self.card
        for tag in notices:
            other = tags[tag].new_version if tag == shown else None
            card = with_banner(card, banner(tag, tags[tag], to), other, CARD)
        self.write(card)
        known = Withdrawals(tags=dict(tags), shown=Shown(tag=shown, commit="0" * 40, plan="a"))
        self.write(pretty_json(known.model_dump(mode="json")).decode(), YANKED)
        listed = Manifest.model_validate_json((self.folder / MANIFEST).read_bytes())
        files = {**listed.files, YANKED: FileEntry(size=1, sha256="0" * 64)}
        self.write(Manifest(files=files).model_dump_json(), MANIFEST)

    @property
    def told(self) -> str:
        """What is wrong with it; empty if nothing."""
        try:
            require_same(Documents(self.folder, "a/b", VOCABULARY), ADDRESS)
        except VerificationError as error:
            return error.what
        return ""


@pytest.fixture
def served(released: Path, tmp_path: Path) -> Served:
    shutil.copytree(released / "release" / "publish", tmp_path / "publish")
    shutil.copy(released / "release" / CARD, tmp_path)
    return Served(tmp_path)


def test_a_card_is_written_again_from_what_was_published(served: Served) -> None:
    assert served.told == ""


@pytest.mark.parametrize(
    ("old", "new", "there", "belongs"),
    [
        ("1 picture each", "9 pictures each", "'9 pictures each: ", "'1 picture each: "),
        ("**PASS**", "**INCONCLUSIVE**", "'**INCONCLUSIVE**. [How", "'**PASS**. [How"),
        ("was run against", "was never run against", "'never run against this commit", "'run against this commit"),
        ("license: ", "# license: ", "'# license: ", "'license: "),
        ("base_model_relation: quantized", "base_model_relation: finetune", "'finetune' ", "'quantized' "),
        ("import torch", "import torch, evil", "'torch, evil' ", "'torch' "),
        ("](http", "](https://evil.example/?http", "'[acme/tiny](https://evil.example/?http", "'[acme/tiny](http"),
        ("## What it is", "## What it is\r", "'is\\r' ", "'is' "),
        ("## License", "Free for all.\n\n## License", "'Free for all.' ", "'## License' "),
    ],
)
def test_what_is_changed_is_named_with_its_line_and_what_belongs_there(
    served: Served, old: str, new: str, there: str, belongs: str
) -> None:
    line = served.line_of(old)
    served.change(old, new)
    said, _, meant = served.told.partition(" where ")
    assert said.startswith(f"README.md:{line} says {there}".rstrip())
    assert meant.startswith(belongs)
    assert meant.endswith(" belongs.")


def test_a_line_that_was_taken_away_is_found(served: Served) -> None:
    line = served.line_of("| component |")
    served.change("| --- | --- | --- | --- | --- |\n", "")
    assert f"README.md:{line + 1} says '`transformer` | torchao " in served.told
    assert "where '--- | --- | --- | --- | --- |' belongs." in served.told


def test_any_letter_that_is_changed_is_found_in_its_line(served: Served) -> None:
    card, chance = served.card, random.Random(4)
    for _ in range(100):
        at = chance.randrange(len(card))
        served.write(card[:at] + "§" + card[at + 1 :])
        line = card[:at].count("\n") + 1
        assert f"README.md:{line} says " in served.told
        assert "§" in served.told


def test_what_is_added_at_the_end_or_missing_there_is_found(served: Served) -> None:
    card = served.card
    last = card.count("\n") + 1
    served.write(card + "# More\n")
    assert served.told == f"README.md:{last} says '# More' where '' belongs."
    served.write(card + "\n")
    assert served.told == f"README.md:{last + 1} says '' where nothing belongs."
    served.write(card.rstrip("\n"))
    assert served.told == f"README.md:{last} says nothing where '' belongs."


def test_a_long_line_is_shown_from_the_word_on_that_differs(served: Served) -> None:
    served.change("picture by picture", "picture by " + "x" * 1000)
    assert f" says '{'x' * 80}…' where 'picture and layer by layer" in served.told


def test_bytes_that_are_no_text_are_found(served: Served) -> None:
    line, path = served.line_of("## License"), served.folder / CARD
    path.write_bytes(path.read_bytes().replace(b"## License", b"## Lic\xffnse"))
    assert served.told == f"README.md:{line} says 'Lic\N{REPLACEMENT CHARACTER}nse' where 'License' belongs."


def test_the_snippet_beside_the_card_is_that_in_it(served: Served) -> None:
    served.change("import torch\n", "import evil\n", USAGE)
    assert served.told == "publish/usage.py:1 says 'evil' where 'torch' belongs."


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        (PLAN, {"source_card": {"license": "mit"}}, " where 'mit' belongs."),
        (REPORT, {"sizes": {"source": 9, "result": 7}}, " where '7 B instead "),
        (REPORT, {"identical": 40}, " where '40 pairs of "),
        (REPORT, {"source_page": ADDRESS}, f" where '[acme/tiny]({ADDRESS}) at commit "),
        (REPORT, {"usage": next(note for note, run in USAGE_NOTES.items() if not run)}, "where 'file, [`publish"),
    ],
)
def test_a_card_of_another_plan_or_report_is_found(
    served: Served, name: str, changes: dict[str, Any], told: str
) -> None:
    served.document(name, **changes)
    assert told in served.told


@pytest.mark.parametrize("changes", [{"usage": "It was run."}, {"usage": ["x"]}, {"pairs": []}, {"metrics": {}}])
def test_documents_that_no_card_can_be_written_from_are_told_so(served: Served, changes: dict[str, Any]) -> None:
    served.document(REPORT, **changes)
    assert served.told.startswith("publish/plan.json and publish/report.json cannot be read by this version of ")


@pytest.mark.parametrize("to", [ADDRESS, ""])
@pytest.mark.parametrize(
    ("shown", "notices"),
    [
        ("v1", ["v1"]),  # what main shows
        ("v2", ["v1"]),  # an older one
        ("v2", ["v2"]),  # the newest, after an older one was withdrawn before it was released
        ("v2", ["v1", "v2"]),
        ("v1", ["v2", "v1"]),
        ("v1", ["v1", "v2"]),
    ],
)
def test_the_notices_of_withdrawals_may_stand_above_a_card(
    served: Served, shown: str, notices: list[str], to: str
) -> None:
    tags = {"v1": V1, "v2": V2} if "v2" in notices else {"v1": V1}
    served.withdraw(tags, shown, notices, to)
    assert served.told == ""
    assert served.card.count("was withdrawn") == len(notices)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("6 fingers", "no fingers", "says 'no fingers"),
        (f"{ADDRESS}/{OTHER}", f"https://evil.example/{OTHER}", f"says '[{OTHER}](https://evil.example/"),
        (f"new_version: {OTHER}", "new_version: alice/evil", f"says 'alice/evil' where '{OTHER}' belongs."),
        (f"new_version: {OTHER}\n", "", f"where 'new_version: {OTHER}' belongs."),
        (" instead.\n", " instead. Or do not.\n", "says 'instead. Or do not.' where 'instead.' belongs."),
        (" instead.\n", " instead.\n> It is fine.\n", "says '> It is fine.' where '' belongs."),
        ("# tiny-one\n", f"{banner('v1', V1, ADDRESS)}\n# tiny-one\n", "says '> **`v1` was withdrawn"),
        ("# tiny-one\n", f"{banner('v3', V2, '')}\n# tiny-one\n", "says '> **`v3` was withdrawn"),
    ],
)
def test_anything_else_above_a_withdrawn_card_is_found(served: Served, old: str, new: str, told: str) -> None:
    served.withdraw({"v1": V1}, "v1", ["v1"])
    served.change(old, new)
    assert told in served.told


@pytest.mark.parametrize("shown", ["v1", "v2"])
def test_a_notice_that_was_taken_away_is_found(served: Served, shown: str) -> None:
    served.withdraw({"v1": V1}, shown, ["v1"])
    served.change(f"{banner('v1', V1, ADDRESS)}\n", "")
    assert "says '# tiny-one' where '> **`v1` was withdrawn by its publisher.**" in served.told


def test_a_notice_above_a_release_that_is_no_withdrawal_is_found(served: Served) -> None:
    served.write(with_banner(served.card, banner("v1", V1, ADDRESS), None, CARD))
    assert "says '> **`v1` was withdrawn by its publisher.**" in served.told
