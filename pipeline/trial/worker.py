"""In a process of its own: makes a tiny model and says how its users call it. See ``stand_in``."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from pipeline.backends.oracle.call import loaded_as, taken
from pipeline.trial import tiny
from pipeline.worker.child import WorkerError, first_line, serve
from pipeline.worker.startup import gc_paused

INDEX: Final = "model_index.json"
CALL: Final = {"height": 32, "width": 32, "num_frames": 5, "num_inference_steps": 2}
SHORT: Final = {"max_new_tokens": 12}  # of texts, which a model of random weights never ends
HEARS: Final = "AutoModelForSpeechSeq2Seq"
SIMPLEST: Final = {HEARS: tiny.listener, "AutoModelForCausalLM": tiny.talker}  # of any other loader an embedder
ENGLISH: Final = ("num_beams", "max_new_tokens", "condition_on_prev_tokens")  # what a listener to one language takes
BY_CLASS: Final = {"text_encoder_out_layers": [1, 2, 3]}  # which FLUX.2 reads: the defaults are those of deep encoders
ALIKE: Final = {"QwenImageEditPipeline": "QwenImagePipeline"}  # the same components; the processor wants torchvision


def make(job: dict[str, Any]) -> dict[str, Any]:
    """Make the model that a job asks for, if it asks for one, and return what is to be known of it."""
    folder, asked = Path(job["folder"]), job["class"]
    if job.get("single"):
        return make_single(job["config"], folder, job["loader"])
    near = ALIKE.get(asked, asked)
    made = near if near in tiny.PIPELINES else job["otherwise"]
    if made:
        tiny.pipeline(made).save_pretrained(folder)
    return {"of": made, "exact": made == asked, "fits": made == near, **called(folder, job["loader"])}


def make_single(config: dict[str, Any] | None, folder: Path, loader: str) -> dict[str, Any]:
    """Make a single model of a config, or the simplest one where there is none or it cannot be made small."""
    with suppress(Exception):  # the library's own code, of any class
        if config:
            model = tiny.shrunk(config, loader)
            model.save_pretrained(folder)
            return {"of": config["model_type"], "fits": True, "exact": True, "takes": [], "call": short(model)}
    model, beside = SIMPLEST.get(loader, tiny.embedder)()
    model.save_pretrained(folder)
    beside.save_pretrained(folder)
    takes = ENGLISH if loader == HEARS else ()
    return {"of": model.config.model_type, "fits": False, "exact": not takes, "takes": takes, "call": short(model)}


def short(model: Any) -> dict[str, Any]:
    """Return arguments that make the answers of a single model small."""
    return SHORT if model.can_generate() else {}


def called(folder: Path, loader: str) -> dict[str, Any]:
    """Return which arguments the call of a pipeline takes, and those that make its answers small."""
    takes = taken(loaded_as(loader, json.loads((folder / INDEX).read_bytes())["_class_name"]))
    return {"takes": sorted(takes), "call": {name: value for name, value in (CALL | BY_CLASS).items() if name in takes}}


def say(job: dict[str, Any]) -> dict[str, Any]:
    """Make a model, and return what is to be known of it, or why there is none."""
    try:
        with gc_paused():
            return make(job)
    except ImportError as error:
        return WorkerError("environment", f"A library is missing or broken: {first_line(error)}", "Install it.").said
    except WorkerError as refusal:
        return refusal.said
    except Exception as error:  # the libraries' own code, of any class
        return WorkerError("library", f"There is no tiny model: {type(error).__name__}: {first_line(error)}").said


if __name__ == "__main__":
    serve(lambda job, _: say(json.loads(job)))
