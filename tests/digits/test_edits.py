"""Image to image on real weights, asked about the pictures of a dataset."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from sample import CALL
from scans import COLOURS, load, paint

from tests.desk import ONE, Desk
from tests.prompts.conftest import parquet, push

RED, BLUE = COLOURS.index("red"), COLOURS.index("blue")


def png(scan: np.ndarray) -> bytes:
    """A red digit on paper."""
    out = io.BytesIO()
    paint(scan, RED).save(out, format="PNG")
    return out.getvalue()


@pytest.mark.nightly
def test_the_digits_model_paints_other_peoples_digits_blue(desk: Desk, digits: Path) -> None:
    """Noise up to three quarters of the way leaves a shape, which the classifier reads, and no colour."""
    _, held_out = load()
    rows = [int(np.flatnonzero(held_out.digits == digit)[0]) for digit in range(10)]
    styles = [held_out.style(row, BLUE) for row in rows]
    table = parquet(
        instruction=[style.caption for style in styles],
        picture=[{"bytes": png(held_out.ink[row]), "path": None} for row in rows],
        digit=[str(style.digit) for style in styles],
    )
    commit = push(desk.shelf, "alice/edits", {"data/train.parquet": table})
    path = desk.recipe(ONE, {"path": str(digits / "source")})
    written = json.loads(path.read_text()) | {"task": "image-to-image", "card": {"template": "image-to-image"}}
    written["destination"]["name"] = "digits-{target}"
    written["validation"] = {
        "prompts": {
            "dataset": "alice/edits",
            "revision": commit,
            "split": "train",
            "column": "instruction",
            "label": "digit",
            "files": {"image": "picture"},
        },
        "seeds": [0, 1],
        "call": {**CALL, "strength": 0.75},
        "require": {"psnr": {"min": 25}, "label_accuracy": {"model": str(digits / "classifier"), "drop": {"max": 0.3}}},
    }
    path.write_text(json.dumps(written))
    done = desk.publish("run", path)
    assert done.code == 0, done.err
    release = Path(desk.shelf.api.snapshot_download("alice/digits-one", local_dir=desk.folder / "release"))
    report = json.loads((release / "publish" / "report.json").read_text())
    assert report["verdict"] == "PASS", report["reasons"]
    assert desk.publish("verify", "alice/digits-one").code == 0
