"""What a pipeline is called with: a word that its call does not take is the recipe's mistake, and known at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.backends.oracle.call import loaded_as, taken
from pipeline.backends.oracle.conversion import CallRequest, PipelineCall, ask_library
from tests.desk import Desk


def test_a_plan_refuses_what_the_call_does_not_take_where_it_is_written(desk: Desk) -> None:
    path = desk.recipe(call={"num_inferense_steps": 2, "wholly_strange": 1})
    done = desk.publish("plan", path)
    before = path.read_text().partition('"num_inferense')[0].split("\n")
    line, column = len(before), len(before[-1]) + 1
    assert done.code == 2, done.err
    said = f"{path}:{line}:{column}: FluxPipeline takes no 'num_inferense_steps'; did you mean 'num_inference_steps'?"
    assert said in done.err
    assert "FluxPipeline takes no 'wholly_strange'; it takes prompt, prompt_2," in done.err
    assert "max_sequence_length\n" in done.err
    assert "The recipe has 2 problems." in done.err


def test_further_keywords_take_nothing_and_what_is_no_pipeline_is_refused_by_name() -> None:
    refused = {
        ("DiffusionPipeline", "OwnPipeline"): ("source", "has no pipeline OwnPipeline"),
        ("DiffusionPipeline", "FluxTransformer2DModel"): ("source", "has no pipeline FluxTransformer2DModel"),
        ("AutoPipelineForImage2Image", "WanPipeline"): ("recipe", "of the installed diffusers makes nothing of"),
    }
    asked = [("DiffusionPipeline", "StableDiffusionPipeline"), *refused]
    known, *others = ask_library([CallRequest(loader=loader, class_name=name) for loader, name in asked], "here")
    takes = PipelineCall.model_validate(known).takes
    assert takes[:2] == ("prompt", "height")
    assert {"guidance_scale", "num_inference_steps"} < {*takes}
    assert not {"self", "kwargs"} & {*takes}
    for said, (kind, what) in zip(others, refused.values(), strict=True):
        assert said["error"] == kind
        assert what in said["what"]


@pytest.mark.parametrize("loader", ["DiffusionPipeline", "AutoPipelineForImage2Image", "AutoPipelineForInpainting"])
def test_it_is_the_class_whose_call_is_asked_that_loads(source: Path, loader: str) -> None:
    import diffusers

    assert loaded_as(loader, "FluxPipeline") is type(getattr(diffusers, loader).from_pretrained(source))
    assert ("image" in taken(loaded_as(loader, "FluxPipeline"))) == (loader != "DiffusionPipeline")


def test_a_control_pipeline_stays_one() -> None:
    assert loaded_as("AutoPipelineForInpainting", "FluxControlPipeline").__name__ == "FluxControlInpaintPipeline"
