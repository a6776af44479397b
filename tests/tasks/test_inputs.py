"""What a static scheme is fitted to is what the source's layers are given, measured once and written down."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

from pipeline.backends import bfl
from pipeline.backends.grid import outwards
from pipeline.backends.oracle.conversion import Conversion, ConversionPlan
from pipeline.backends.oracle.single_file import FileTensor, Rows, SingleFile
from pipeline.errors import RecipeError
from pipeline.quantize.build import MEASURED, Result
from pipeline.quantize.inputs import INPUTS, require_seen
from pipeline.quantize.watching import Watch
from pipeline.recipe import Quantization
from pipeline.tasks.protocol import LoadedModel
from pipeline.worker.child import WorkerError
from tests.desk import CALL, Desk

METHOD = {"backend": "bfl", "scheme": "nvfp4", "samples": 1, "names": "diffusers"}
NVFP4 = {"transformer": METHOD}
KEEPING = {"transformer": {**METHOD, "keep": ["proj_out"]}}


def test_it_is_measured_on_the_first_questions_once_for_all_targets(desk: Desk, source: Path) -> None:
    recipe = desk.recipe({"one": NVFP4, "two": KEEPING})
    engine = desk.engine(recipe)
    engine.prepare()
    assert [ended for ended in engine.run(["one", "two"], stop_after="quantize") if isinstance(ended, Exception)] == []
    assert len(list((desk.home / "store" / INPUTS).iterdir())) == 1
    plan, _ = engine.plan("one")
    assert plan.streamed_disk_bytes == plan.disk_bytes, "the source is stored, to be asked"
    assert {part.activations for part in plan.components.values()} == {"static"}
    folder = engine.store.root / "checkpoint" / plan.build_key
    said = json.loads((folder / MEASURED).read_bytes())["transformer"]["inputs"]
    prompt, seed = plan.validation.prompts[0].prompt, plan.validation.seeds[0]
    assert said == largest(source, prompt, seed)
    (file,) = (folder / "transformer").glob("*-nvfp4.safetensors")
    held = load_file(file)
    scales = {name.removesuffix(".input_scale"): one for name, one in held.items() if name.endswith(".input_scale")}
    assert scales.keys() == {name.removesuffix(".weight_scale_2") for name in held if name.endswith(".weight_scale_2")}
    assert [name for name, one in scales.items() if one != torch.tensor(said[name]) / (6.0 * 448.0)] == []


def largest(source: Path, prompt: str, seed: int) -> dict[str, float]:
    """Return by module what a pipeline of diffusers gives it at most, on the grid."""
    pipe = DiffusionPipeline.from_pretrained(source, dtype=torch.bfloat16)
    seen: dict[str, float] = {}

    def hook(name: str) -> Any:
        def note(_module: Any, given: Any) -> None:
            seen[name] = max(seen.get(name, 0.0), float(given[0].abs().max()))

        return note

    for name, module in pipe.transformer.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(hook(name))
    pipe(prompt, generator=torch.Generator("cpu").manual_seed(seed), output_type="np", **CALL)
    return {name: outwards(one) for name, one in seen.items()}


def test_layers_that_lie_in_one_tensor_of_a_file_have_the_scale_of_the_most(tmp_path: Path) -> None:
    rows = tuple(Rows(tensor=f"a.{one}.weight", start=0, stop=4) for one in "qk")
    part: Any = SimpleNamespace(
        component=SimpleNamespace(folder="", class_name="X"),
        quantization=Quantization(backend="bfl", scheme="nvfp4"),
        file=SingleFile(tensors={"a.qk.weight": FileTensor(shape=(8, 16), rows=rows)}),
        **dict.fromkeys(("answer", "tensors", "weights")),
        form=bfl.FORM,
    )
    given = {"a.q": 1.0, "a.k": 3.0, "b": 2.0}
    packer: Any = Result(tmp_path, {"part": part}, inputs={"part": given}).job("part").packer
    assert packer.options["inputs"] == {"a.q": 3.0, "a.k": 3.0, "b": 2.0}
    part.file = None
    packer = Result(tmp_path, {"part": part}, inputs={"part": given}).job("part").packer
    assert packer.options["inputs"] == given


def watched(*inputs: torch.Tensor) -> dict[str, dict[str, float]]:
    """Return what is said of a model of one layer that is given some inputs."""
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    watch = Watch(["part"])
    watch(LoadedModel(model, {"part": model}, torch.device("cpu"), ""))
    for given in inputs:
        model[0](given)
    return watch.found()


def test_the_largest_of_all_calls_counts_whatever_its_sign() -> None:
    found = watched(torch.tensor([[1.0, -8.0]]), torch.tensor([[2.0, 3.0]]), torch.zeros(0, 2))
    assert found == {"part": {"0": 8.0}}


def test_a_source_that_computes_no_number_is_refused_by_its_layer() -> None:
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(WorkerError, match="part computes NaN or infinity for the layer '0'"):
            watched(torch.tensor([[1.0, wrong]]))


def test_a_number_moves_outwards_by_a_64th_at_most() -> None:
    for number in (1.0, 1.001, 0.3, 1e-9, 447.9):
        assert number <= outwards(number) <= number * (1 + 1 / 64)
        assert outwards(-number) == -outwards(number)
    assert outwards(outwards(1.001)) == outwards(1.001)


@pytest.mark.parametrize(("found", "given"), [({}, "nothing"), ({"proj": 0.0}, "nothing but zeros")])
def test_a_layer_that_no_question_tells_of_is_refused_by_name(found: dict[str, float], given: str) -> None:
    taken = Conversion(parameter="proj.weight", dtype="bfloat16", quantized=True)
    answer = ConversionPlan(conversions={"proj.weight": taken}, parameters=("proj.weight",), kept={}, config="")
    part: Any = SimpleNamespace(answer=answer, component=SimpleNamespace(name="transformer"))
    with pytest.raises(RecipeError, match=f"The questions give {given} to the layer 'proj', so that no scale"):
        require_seen(part, found)
    require_seen(part, {"proj": 1.5})


def test_a_scheme_that_wants_questions_is_refused_where_there_are_none(desk: Desk, source: Path) -> None:
    asked = ("--backend", "bfl", "--scheme", "nvfp4", "--option", "names=diffusers")
    done = desk.publish("quantize", source, "--out", "made", *asked)
    assert (done.code, (desk.folder / "made").exists()) == (2, False)
    assert "bfl nvfp4 measures activations while the source answers prompts, and there are none" in desk.plain(done.err)
