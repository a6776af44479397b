"""The snippet of a card is what readers run for years: with today's libraries nothing in it may be on its way out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.card.context import facts
from pipeline.card.metadata import SourceCard
from pipeline.card.render import render
from pipeline.plan.model import TargetPlan
from pipeline.validate import Report
from tests.cards.conftest import asking

CALL = {"height": 16, "width": 16, "num_inference_steps": 1, "max_sequence_length": 16}


@pytest.mark.nightly
def test_the_snippet_runs_with_deprecations_as_errors(
    source: Path, plan: TargetPlan, report: Report, tmp_path: Path
) -> None:
    shown = asking(plan, call=CALL).model_copy(update={"repository": str(source)})
    snippet = tmp_path / "usage.py"
    snippet.write_text(render("diffusers.py.jinja", facts(shown, report, SourceCard({}), executed=True)))
    strictly = [part for kind in ("DeprecationWarning", "FutureWarning") for part in ("-W", f"error::{kind}")]
    command = [sys.executable, *strictly, snippet]
    done = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "image.png").is_file()
