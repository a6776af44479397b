"""Answers without a LoRA, and with it, in the process that tries."""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.tasks.protocol import Given
from pipeline.validate.compatibility.asking import Tried
from pipeline.validate.compatibility.consumer import Trial, words_of
from pipeline.validate.consumer import varied

ADAPTER = "tried"


def load_and_ask(trial: Trial) -> Tried:
    """Ask every question with the LoRA, then without, and the first without once more, varied as ought not to matter.

    What the library raises while it loads the LoRA, or answers with it, is what is told. It is loaded before anything
    is asked: diffusers reads the state of the model then, and bitsandbytes 0.50 spoils its 4-bit weights on a CPU with
    AVX512-BF16 when that is read after a forward pass.
    """
    questions, pipe = range(len(trial.request.questions)), trial.loaded.model
    trial.total = 2 * len(questions) + 1
    folder, file = os.path.split(trial.job["file"])
    try:
        pipe.load_lora_weights(folder, weight_name=file, adapter_name=ADAPTER)
        pipe.set_adapters([ADAPTER], [trial.job["scale"]])
        keep([trial.ask(question) for question in questions], trial.out / "adapted.npz")
        pipe.unload_lora_weights()
    except Exception as error:  # a library's own, of any class: that it cannot is what is to be found out
        traceback.print_exc()
        return trial.said(failure=words_of(error))
    keep([trial.ask(question) for question in questions], trial.out / "plain.npz")
    with varied():
        keep([trial.ask(0)], trial.out / "again.npz")
    return trial.said()


def keep(answers: Sequence[Given], to: Path) -> None:
    """Write values, and latents where all have them, as float32 arrays of shape (answers, ...)."""
    import numpy as np

    arrays: dict[str, Any] = {"pixels": np.stack([np.asarray(given.values, np.float32) for given in answers])}
    if all("latents" in given.besides for given in answers):
        arrays["latents"] = np.stack([given.besides["latents"] for given in answers])
    np.savez(to, **arrays)
