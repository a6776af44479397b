"""Each defect of the field, planted into models that are in order, is refused with the sentence that says it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pipeline.lint import lint
from pipeline.lint.faults import together
from pipeline.source.layout import Folder
from tests.lint.models import MADE
from tests.lint.spoil import EVERYWHERE, LEFT_ALONE, PLANTED, change, codes_alone

GOLDEN = Path(__file__).parent / "refused.txt"
UNREAD = {"comfy-w4a4", "comfy-w4a8"}
NOWHERE = {
    # A block scale of mxfp8 is an exponent alone.
    "scales are negative": {"comfy-mxfp8"},
    # Block scales of 8 bits have no infinity.
    "a scale is infinite": {
        *("comfy-mxfp8", "comfy-nvfp4", "bfl-nvfp4", "modelopt-nvfp4", "compressed-nvfp4"),
    },
    # Nested scales are added to an offset that says most of it.
    "a layer is a quarter louder": {"comfy-mxfp8", "bnb-nf4-nested"},
}
FORMS = [name for name in MADE if not name.startswith(("gguf", "plain")) and name not in UNREAD]
EVERY = [(form, defect) for form in FORMS for defect in EVERYWHERE if form not in NOWHERE.get(defect, ())]
# One in five of these by `make test`: each defect in some formats, each format with some defects.
OFTEN = {case for number, case in enumerate(f"{form}: {defect}" for form, defect in EVERY) if number % 5 == 0}
CASES = {f"{form}: {defect}": (form, EVERYWHERE[defect]) for form, defect in EVERY}
CASES |= {f"{form}: {defect}": (form, spoil) for form, defect, spoil in PLANTED}
OFTEN |= {f"{form}: {defect}" for form, defect, _ in PLANTED}
MARKED = [pytest.param(case, marks=() if case in OFTEN else pytest.mark.nightly) for case in CASES]


def golden() -> dict[str, str]:
    """Return what is said of each case."""
    lines = GOLDEN.read_text().splitlines() if GOLDEN.exists() else []
    blocks = "\n".join(lines).split("\n\n")
    return {head: body for head, _, body in (block.partition("\n") for block in blocks if block)}


@pytest.mark.parametrize("case", MARKED)
def test_a_planted_defect_is_named(case: str, made: Path, tmp_path: Path) -> None:
    form, spoil = CASES[case]
    shutil.copytree(made / form, tmp_path / "model")
    spoil(tmp_path / "model")
    found = lint(Folder(tmp_path / "model"), Folder(made / "plain"))
    said = [f"  {fault.level} {fault.rule}: {fault} x{count}" for fault, count in together(found.everything)]
    assert said, "nothing was seen"
    told = "\n".join(said)
    if os.environ.get("REWRITE_GOLDENS"):
        kept = golden() | {case: told}
        GOLDEN.write_text("\n\n".join(f"{head}\n{kept[head]}" for head in CASES if head in kept) + "\n")
    assert told == golden()[case]
    warned = {"input scales are one"}
    assert (found.first is None) == any(case.endswith(each) for each in warned)


@pytest.mark.parametrize("form", ["comfy-nvfp4", "comfy-mxfp8", "bfl-nvfp4", "bnb-nf4", "quanto-int2"])
def test_codes_of_a_block_without_its_scale_are_suspicious_without_a_base(
    form: str, made: Path, tmp_path: Path
) -> None:
    """Those of zeros are not, of which each has some: there all codes are alike."""
    assert not lint(Folder(made / form)).everything
    shutil.copytree(made / form, tmp_path / "model")
    EVERYWHERE["one scale is zero"](tmp_path / "model")
    (fault,) = lint(Folder(tmp_path / "model")).everything
    assert (fault.level, fault.rule) == ("warning", "scale-damaged")
    assert fault.tensor.startswith("blocks.3.attn.to_q.weight")
    assert fault.text.startswith("1 of ")


@pytest.mark.parametrize("form", LEFT_ALONE)
def test_codes_without_anything_are_refused_without_a_base(form: str, made: Path, tmp_path: Path) -> None:
    """As a file of 3,528 scales was that nobody noticed."""
    shutil.copytree(made / form, tmp_path / "model")
    (tmp_path / "model" / "config.json").unlink(missing_ok=True)
    change(codes_alone)(tmp_path / "model")
    found = lint(Folder(tmp_path / "model"))
    assert found.first
    assert {fault.rule for fault in found.everything} == {"scale-missing"}
    assert len(found.everything) == 32
