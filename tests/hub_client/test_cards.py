"""A card that the Hub would refuse is refused before any byte goes there: by the Hub itself, or by its rules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from localhub.card_rules import errors_of, metadata_of
from localhub.faults import Faults
from localhub.server import running
from pipeline.card.stage import require_taken
from pipeline.errors import CardError
from pipeline.hub.client import Hub

GOOD = "---\nlicense: other\nlicense_name: own\nbase_model: acme/tiny\ntags: [quantized]\n---\n# Tiny\n"
BAD = {
    "license: MIT-ish": '"license" must be one of',
    "license: [mit, null]": '"license" must',
    "tags: art": '"tags" must be an array',
    "widget: none": '"widget" must be an array',
    "datasets: [null]": '"datasets" must hold strings',
    "base_model: /models/tiny": '"base_model" with value "/models/tiny" is not valid',
    "license: [": "Invalid YAML",
    "- a": "has to be a mapping",
}


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def hub(tmp_path: Path, faults: Faults) -> Iterator[Hub]:
    with running(tmp_path / "hub", faults=faults) as endpoint:
        yield Hub(endpoint, token="local")


@pytest.mark.parametrize("metadata", BAD)
def test_a_bad_card_is_refused_with_the_same_words_by_the_hub_and_without_one(hub: Hub, metadata: str) -> None:
    card = f"---\n{metadata}\n---\n# Tiny\n"
    assert BAD[metadata] in errors_of(card)[0]
    assert hub.card_errors("alice/tiny", card) == errors_of(card)


def test_a_good_card_and_one_without_metadata_are_taken(hub: Hub) -> None:
    for card in (GOOD, "# Tiny\n"):
        assert hub.card_errors("alice/tiny", card) == errors_of(card) == []


@pytest.mark.parametrize("head", ["---\n", "\n\n---\n", "  ---\r\n", "---\r"])
@pytest.mark.parametrize("foot", ["\n---\n", "\r\n---\r\n", "\n---  \n", "\n---", "\n--- x\n", ""])
def test_metadata_is_found_where_the_client_finds_it(head: str, foot: str) -> None:
    card = f"{head}license: mit{foot}text\n" if foot != "\n---" else f"{head}license: mit{foot}"
    assert metadata_of(card).get("license") == ModelCard(card, ignore_metadata_errors=True).data.license


def test_what_the_hub_says_goes_before_the_rules(hub: Hub, faults: Faults, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(GOOD)
    faults.rules = ["""POST /api/validate-yaml status=400 body='{"errors":[{"message":"no such tag"}]}'"""]
    with pytest.raises(CardError, match=r"alice/tiny/README\.md: .*no such tag") as caught:
        require_taken(tmp_path, "alice/tiny", lambda text: hub.card_errors("alice/tiny", text))
    assert caught.value.exit_code == 7
    (tmp_path / "README.md").write_text(GOOD.replace("other", "license-of-next-year"))
    faults.rules = ["POST /api/validate-yaml status=200 body='{}'"]
    require_taken(tmp_path, "alice/tiny", lambda text: hub.card_errors("alice/tiny", text))


def test_a_mirror_without_the_call_leaves_it_to_the_rules(hub: Hub, faults: Faults) -> None:
    faults.rules = ["POST /api/validate-yaml status=404 times=always"]
    assert hub.card_errors("alice/tiny", "---\ntags: art\n---\n") == ['"tags" must be an array']
