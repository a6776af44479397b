"""The gate works: what is spoiled fails for the right reason, and what is honest does not.

A sample of ``python -m tests.gate.gate``, which tries everything.
"""

from __future__ import annotations

import pytest

from tests.gate.defects import DEFECTS
from tests.gate.sampling import Lines, require_named, require_seen_beside_answers, sample
from tests.gate.table import short

pytestmark = pytest.mark.nightly

CHOSEN = (
    "absmax transposed",
    "one block of NaN",
    "one output lost",
    "tokenizer of another model",
    "wrong shift",
    "statistic missing",
    "reference of one colour",
)


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Lines:
    return sample(tmp_path_factory.mktemp("gate"), CHOSEN, "--prompts=12", "--seeds=0")


@pytest.mark.parametrize("name", CHOSEN)
def test_a_planted_defect_fails_and_the_first_reason_names_it(name: str, lines: Lines) -> None:
    require_named(lines[name], DEFECTS[name])


def test_an_honest_target_does_not_fail(lines: Lines) -> None:
    assert lines["honest bnb-nf4"]["verdict"] != "FAIL"


def test_the_source_passes_against_itself(lines: Lines) -> None:
    found = lines["honest source"]
    measured = (found["verdict"], found["ranking"], found["least"])
    assert measured == ("PASS", 60, 100)  # identical images count as 60 dB in a mean


def test_the_source_does_not_fail_against_itself_with_another_kernel(lines: Lines) -> None:
    found = lines["honest source, other attention"]
    assert found["verdict"] != "FAIL"
    assert 45 < found["ranking"] < 100


def test_layers_show_what_pictures_alone_do_not(lines: Lines) -> None:
    require_seen_beside_answers(lines, DEFECTS)


def test_a_report_says_how_much_its_sample_shows(lines: Lines) -> None:
    seen = lines["honest bnb-nf4"]["seen"]
    assert 0 < seen["psnr"] < 10
    assert 0 < seen["label_accuracy"] < 1


@pytest.mark.parametrize(
    ("reason", "cell"),
    [
        ("no weights for /home/one/run/vae", "no weights for DIR/vae"),
        ("no file '/home/one/vae.bin' (\"/home/two/a\")", "no file 'DIR/vae.bin' (\"DIR/a\")"),
        ("tokenizer_2/tokenizer.json is not\nthe source's | 1", "tokenizer_2/tokenizer.json is not the source's / 1"),
        ("a" * 151, "a" * 147 + "..."),
    ],
)
def test_a_reason_fits_a_cell_and_names_no_folder_of_this_machine(reason: str, cell: str) -> None:
    assert short(reason) == cell
