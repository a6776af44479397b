"""What a pipeline is called with: a word that its call does not take is the recipe's mistake, and known at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.backends.oracle.call import loaded_as, taken
from pipeline.backends.oracle.conversion import CallRequest, ask_call
from pipeline.errors import RecipeError, SourceError
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


def test_further_keywords_take_nothing(tmp_path: Path) -> None:
    known = ask_call(CallRequest(loader="DiffusionPipeline", class_name="StableDiffusionPipeline"), tmp_path, "here")
    assert known.takes[:2] == ("prompt", "height")
    assert {"guidance_scale", "num_inference_steps"} < {*known.takes}
    assert not {"self", "kwargs"} & {*known.takes}


@pytest.mark.parametrize("loader", ["DiffusionPipeline", "AutoPipelineForImage2Image", "AutoPipelineForInpainting"])
def test_it_is_the_class_whose_call_is_asked_that_loads(source: Path, loader: str) -> None:
    import diffusers

    assert loaded_as(loader, "FluxPipeline") is type(getattr(diffusers, loader).from_pretrained(source))
    assert ("image" in taken(loaded_as(loader, "FluxPipeline"))) == (loader != "DiffusionPipeline")


def test_a_control_pipeline_stays_one() -> None:
    assert loaded_as("AutoPipelineForInpainting", "FluxControlPipeline").__name__ == "FluxControlInpaintPipeline"


def test_a_task_that_makes_nothing_of_a_class_is_the_recipes_mistake(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="AutoPipelineForImage2Image of the installed diffusers makes nothing of"):
        ask_call(CallRequest(loader="AutoPipelineForImage2Image", class_name="WanPipeline"), tmp_path, "here")


@pytest.mark.parametrize("name", ["OwnPipeline", "FluxTransformer2DModel"])
def test_a_class_that_is_no_pipeline_of_the_library_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=f"has no pipeline {name}"):
        ask_call(CallRequest(loader="DiffusionPipeline", class_name=name), tmp_path, "here")
