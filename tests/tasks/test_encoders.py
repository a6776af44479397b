"""A text encoder that lies in a single file is opened apart, and its pipeline draws with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.card.compose import USAGE_NOTES
from pipeline.trial import tiny
from tests.desk import WORDS, Desk

REPO = "alice/tiny-encoder"


@pytest.mark.nightly
def test_a_pipeline_draws_with_an_encoder_that_is_gguf(desk: Desk) -> None:
    tiny.pipeline("FluxPipeline").save_pretrained(desk.folder / "tiny")
    targets = {"encoder": {"text_encoder_2": {"backend": "gguf", "scheme": "q8_0"}}}
    require = {"psnr": {"min": 20}, "size_ratio": {"max": 2.0}}
    recipe = desk.recipe(targets, {"path": str(desk.folder / "tiny")}, require)
    (desk.folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": word}) + "\n" for word in WORDS[:8]))
    done = desk.publish("run", recipe)
    assert done.code == 0, done.err
    release = Path(desk.shelf.api.snapshot_download(REPO, local_dir=desk.folder / "release"))
    (file,) = (release / "text_encoder_2").glob("*.gguf")
    assert f'gguf_file="{file.name}"' in (release / "publish" / "usage.py").read_text()
    report = json.loads((release / "publish" / "report.json").read_bytes())
    assert (report["verdict"], USAGE_NOTES[report["usage"]]) == ("PASS", True)
    assert desk.publish("verify", REPO).code == 0
