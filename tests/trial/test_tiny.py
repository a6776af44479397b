"""Tiny pipelines: each is saved, loaded as anybody loads it, and answers as it is asked in a trial."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.trial import tiny
from pipeline.trial.worker import called


@pytest.mark.nightly
@pytest.mark.parametrize("name", tiny.PIPELINES)
def test_a_tiny_pipeline_draws_something(name: str, tmp_path: Path) -> None:
    import torch
    from diffusers import DiffusionPipeline

    tiny.pipeline(name).save_pretrained(tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*")) < 8 << 20
    pipe = DiffusionPipeline.from_pretrained(tmp_path, dtype=torch.bfloat16)
    noise = torch.Generator().manual_seed(0)
    drawn = pipe(prompt="a fox", output_type="np", generator=noise, **called(tmp_path, "DiffusionPipeline")["call"])
    (first,) = drawn.frames if "frames" in drawn else drawn.images
    assert first.shape[-3:] == (32, 32, 3)
    assert np.isfinite(first).all()
    assert first.std() > 0.01
