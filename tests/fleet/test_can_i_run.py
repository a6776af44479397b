"""Can I run: a published repository is held against this machine or another card, and what is said is what it takes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load

from pipeline.backends import BACKENDS
from pipeline.backends.available import Card
from pipeline.backends.bitsandbytes import LOADERS
from pipeline.backends.torchao import SCHEMES
from pipeline.errors import SourceError
from pipeline.fleet.can_run import Fit, Machine, cache, is_older
from pipeline.fleet.memory import Mode, Room, modes
from pipeline.fleet.needs import Needs, Part, read_needs, read_part, unpacked
from pipeline.hub.client import Hub
from pipeline.plan.footprint import RESERVE, Footprint, footprint
from pipeline.plan.model import PIPELINE_MEMORY, TargetPlan
from pipeline.plan.parts import CardMemory, LadderStep, PlannedLadder
from pipeline.release.yank import yank
from pipeline.source.layout import Folder, read_slots, read_source
from pipeline.source.safetensors import TensorInfo
from tests.desk import REPO, WEIGHTS, Desk
from tests.machines import needs_compiler, with_driver

ONE = "alice/tiny-one"
RECORDED = Path(__file__).parents[1] / "unit" / "recorded" / "bnb-nf4" / "plan.json"
GB = 10**9


def pipe(method: str = "", scheme: str = "", **further: Any) -> Needs:
    """A pipeline of a transformer of 12 GB that takes 5 GB more while it runs, and a text encoder of 5 GB."""
    asked = SCHEMES.get(scheme)
    parts = {
        "text_encoder": Part("transformers", "T5EncoderModel", method, 5 * GB, asked),
        "transformer": Part("diffusers", "FluxTransformer2DModel", method, 12 * GB, asked),
    }
    taken = Footprint({"text_encoder": 0, "transformer": 5 * GB}, {"text_encoder": GB, "transformer": GB})
    return Needs("alice/large", "0" * 40, True, parts, {"a": 17 * GB}, taken, **further)


def on(needs: Needs, card: Card | None, memory: int | None = 64 * GB) -> dict[str, Mode]:
    return {mode.name: mode for mode in modes(needs, Room(card, memory))}


def test_what_was_published_runs_where_it_was_made_and_says_how(desk: Desk) -> None:
    done = desk.publish("--json", "can-i-run", ONE, python=("-X", "importtime"))
    assert done.code == 0, done.err
    assert " torch\n" not in done.err
    found = done.lines[-1]
    assert (found["promised"], found["runs"], found["mode"]["lacks"]) == (True, True, "")
    on_processor = found["modes"][-1]
    assert (on_processor["line"], on_processor["known"]) == ('pipe.to("cpu")', "measured")
    report = json.loads(Hub(desk.shelf.endpoint, token="alice").content(ONE, "main", "publish/report.json", 1 << 20))
    assert on_processor["memory_bytes"] == report["candidate"]["peak_memory_bytes"]
    topics = {line["topic"] for line in found["remarks"]}
    assert {"torch", "torchao", "diffusers", "transformers", "accelerate"} <= topics


def test_a_plan_that_says_what_is_not_known_here_breaks_nothing(hub: Hub) -> None:
    needs, name = read_needs(hub, ONE, None), "transformer"
    place, plan = hub.source(ONE, needs.commit), needs.plan
    assert plan
    part = read_source(place).components[name]
    known, slots = plan.components[name], read_slots(place, part)
    for strange in ({"scheme": "int3"}, {"backend": "another"}):
        asked = known.model_copy(update={"quantization": known.quantization.model_copy(update=strange)})
        found = read_part(place, part, slots, plan.model_copy(update={"components": {name: asked}}))
        assert found == replace(needs.parts[name], scheme=None)
    bare = plan.model_copy(update={"components": {}})
    assert read_part(place, part, slots, bare).size == needs.parts[name].size


def test_weights_are_counted_as_they_are_loaded(hub: Hub) -> None:
    needs = read_needs(hub, ONE, None)
    assert needs.parts.keys() == {"text_encoder", "text_encoder_2", "transformer", "vae"}
    assert {name for name, part in needs.parts.items() if part.method} == {"transformer"}
    listed = hub.tree(ONE, needs.commit)[WEIGHTS].size
    tensors = load(hub.content(ONE, needs.commit, WEIGHTS, listed))
    assert needs.parts["transformer"].size == sum(tensor.nbytes for tensor in tensors.values())


def test_what_a_call_takes_beside_the_weights_is_reckoned_of_packed_ones_as_of_the_source(desk: Desk, hub: Hub) -> None:
    needs = read_needs(hub, ONE, None)
    assert needs.plan is not None
    assert needs.footprint is not None
    place = hub.source(REPO, desk.shelf.commit)
    parts = {name: part for name, part in read_source(place).components.items() if part.weights}
    slots = {name: read_slots(place, part) for name, part in parts.items()}
    source = footprint(place, parts, slots, needs.plan.validation.call, needs.plan.task)
    assert needs.footprint.working == source.working


def test_codes_do_not_tell_how_wide_a_layer_is_and_biases_do() -> None:
    packed = {"a.weight": TensorInfo("U8", (4096, 1), 0, 0), "a.weight.quant_map": TensorInfo("F32", (16,), 0, 0)}
    assert unpacked({"file": packed}) == {"file": packed}
    biased = {**packed, "a.bias": TensorInfo("BF16", (64,), 0, 0)}
    assert [slot.shape for slot in unpacked({"file": biased})[""].values()] == [(64, 64)]
    scales = {"a.scale": TensorInfo("BF16", (4096, 1), 0, 0), "words.weight": TensorInfo("BF16", (32000, 64), 0, 0)}
    assert [slot.shape for slot in unpacked({"file": biased | scales})[""].values()] == [(64, 64), (32000, 64)]


def test_what_does_not_run_names_the_largest_of_its_ladder_that_does() -> None:
    plan = TargetPlan.model_validate_json(RECORDED.read_bytes())
    ladder = PlannedLadder(steps=tuple(step(card) for card in (8, 12, 16, 24)))
    needs = pipe("bitsandbytes", plan=plan.model_copy(update={"ladder": ladder}))
    assert "`publish can-i-run alice/large-12gb --memory 13000000000B`" in Fit(needs, Machine.another(13 * GB)).verdict
    itself = replace(needs, repository="alice/large-12gb")  # which does not run, whatever its ladder reckons
    assert "`publish can-i-run alice/large-8gb --memory" in Fit(itself, Machine.another(13 * GB)).verdict
    assert "No sibling of its ladder is small enough" in Fit(needs, Machine.another(6 * GB)).verdict
    assert "its plan is of no ladder" in Fit(pipe("bitsandbytes", plan=plan), Machine.another(GB)).verdict.lower()


def step(card: int) -> LadderStep:
    memory = dict.fromkeys(("none", "model", "sequential"), CardMemory(weights=(card - 1) * GB, reckoned=0))
    name = f"alice/large-{card}gb"
    fixed = {"components": {}, "bytes": 1, "estimated": False, "sqnr": None, "offload": "none"}
    return LadderStep(target=f"{card}gb", card=f"{card}GB", taken=f"{card}gb", repository=name, memory=memory, **fixed)


def test_a_board_is_held_against_what_was_measured_within_its_limits() -> None:
    needs = replace(pipe(), confined=3 * GB)
    board = Fit(needs, Machine.without_card(4 * GB))
    assert board.runs
    assert [(mode.name, mode.memory_bytes, mode.known) for mode in board.modes] == [("cpu", 3 * GB, "measured")]
    assert "runs within 4.0 GB of memory on the processor" in board.verdict
    smaller = Fit(needs, Machine.without_card(2 * GB)).verdict
    assert "does not run within 2.0 GB of memory: at least 3.0 GB of memory, measured" in smaller


def graph(folder: Path, **further: Any) -> Needs:
    """A repository that has a config and a graph of 26 bytes."""
    (folder / "onnx").mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"]}))
    (folder / "onnx" / "model_quantized.onnx").write_bytes(bytes(26))
    place = Folder(folder)
    (component,) = read_source(place).components.values()
    part = read_part(place, component, read_slots(place, component), None)
    return Needs("alice/graph", "0" * 40, False, {"model": part}, {}, **further)


def test_graphs_are_run_by_onnxruntime_on_a_processor_and_by_nothing_else(tmp_path: Path) -> None:
    needs = graph(tmp_path, confined=170 * 10**6)
    assert (needs.weights, needs.devices) == (26, {"cpu"})
    assert {"onnxruntime", "transformers"} <= needs.distributions.keys()
    assert not {"torch", "accelerate"} & needs.distributions.keys()
    board = Fit(needs, Machine.without_card(GB))
    assert board.runs
    assert 'onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])' in board.verdict
    assert "torch" not in board.verdict
    assert "26 B of graphs (model 26 B)" in board.weights().text
    card = Fit(needs, Machine.another(8 * GB))
    assert not card.runs
    assert card.modes == []
    assert "was tried on no card" in card.verdict
    assert [mode.name for mode in modes(needs, Room(Card("cuda"), GB))] == ["cpu"]


def test_a_processor_is_asked_for_by_its_memory(desk: Desk) -> None:
    done = desk.publish("can-i-run", ONE, "--cpu")
    assert done.code == 2
    assert "Add --memory 4GB." in done.err
    found = desk.publish("--json", "can-i-run", ONE, "--memory", "64GB", "--cpu")
    assert [mode["name"] for mode in found.lines[-1]["modes"]] == ["cpu"]


def test_floats_that_are_not_quantized_are_counted_in_the_dtype_that_they_are_loaded_in(desk: Desk, hub: Hub) -> None:
    name = "vae/diffusion_pytorch_model.safetensors"
    before = read_needs(hub, REPO, None)
    stored = load(hub.content(REPO, before.commit, name, 1 << 30))
    assert before.parts["vae"].size == sum(2 * tensor.numel() for tensor in stored.values())


@pytest.mark.parametrize(("said", "width"), [({}, 4), ({"dtype": "bfloat16"}, 2), ({"torch_dtype": "float32"}, 4)])
def test_a_model_of_transformers_is_counted_in_the_dtype_that_it_loads_itself_in(
    desk: Desk, hub: Hub, embedder: Path, said: dict[str, str], width: int
) -> None:
    from transformers import AutoModel

    config = json.loads((embedder / "config.json").read_text())
    plain = {key: value for key, value in config.items() if key not in {"dtype", "torch_dtype"}}
    model = shutil.copytree(embedder, desk.folder / "model")
    (model / "config.json").write_text(json.dumps({**plain, **said}))
    hub.api.create_repo("alice/bert")
    desk.shelf.commit_files({path.name: path.read_bytes() for path in model.iterdir() if path.is_file()}, "alice/bert")
    needs = read_needs(hub, "alice/bert", None)
    loaded = AutoModel.from_pretrained(model)
    assert {parameter.element_size() for parameter in loaded.parameters()} == {width}
    stored = load((model / "model.safetensors").read_bytes()).values()
    assert needs.weights == sum(tensor.numel() * width for tensor in stored)
    assert needs.dtype == ""


def test_a_repository_of_somebody_else_is_answered_from_its_headers(hub: Hub) -> None:
    found = Fit(read_needs(hub, REPO, None), Machine(Room(None, 64 * GB), 900 * GB))
    assert "nothing was promised of it" in found.promise().text
    assert found.verdict.endswith(' here on the processor, loaded with dtype=torch.bfloat16: pipe.to("cpu")')
    assert found.mode is not None
    assert found.mode.known == "reckoned"


def test_a_card_that_is_too_small_ends_with_3_the_reason_and_what_to_do(desk: Desk) -> None:
    done = desk.publish("can-i-run", ONE, "--memory", "200MB")
    assert done.code == 3, done.err
    last = done.out.splitlines()[-1]
    assert last.startswith(f"{ONE}@")
    assert "does not run on a card of 200.0 MB: at least " in last
    assert "the card has 200.0 MB" in last
    assert "\nno      all on the card: " in done.out
    assert desk.publish("can-i-run", ONE, "--memory", "8gb").code == 0


def test_a_size_that_is_none_and_a_repository_that_is_not_there_are_told(desk: Desk, hub: Hub) -> None:
    done = desk.publish("can-i-run", ONE, "--memory", "plenty")
    assert (done.code, "is no size" in done.error) == (2, True)
    done = desk.publish("can-i-run", "./model")
    assert (done.code, "only repositories" in done.error) == (2, True)
    with pytest.raises(SourceError, match="alice/absent: There is no such repository"):
        read_needs(hub, "alice/absent", None)


def test_what_was_withdrawn_says_why_and_what_to_use(hub: Hub) -> None:
    yank(hub, ONE, "v1", "Its colours are wrong", REPO)
    (remark,) = Fit(read_needs(hub, ONE, None), Machine(Room(None, None))).withdrawn()
    assert (remark.level, "Its colours are wrong" in remark.text) == ("warning", True)
    assert f"`publish can-i-run {REPO}`" in remark.remedy


@pytest.mark.parametrize(
    ("size", "mode"),
    [(40, "none"), (24, "none"), (20, "model"), (7, "sequential"), (6, None)],
)
def test_the_fastest_way_that_fits_is_taken(size: int, mode: str | None) -> None:
    found = Fit(pipe(), Machine.another(size * GB))
    assert (found.mode.name if found.mode else None) == mode
    assert found.runs is (mode is not None)


def test_each_way_takes_what_it_moves_to_the_device() -> None:
    beside = 5 * GB + RESERVE
    found = on(pipe(), Card("cuda", 80 * GB))
    assert [mode.device_bytes - beside for mode in found.values() if mode.name != "cpu"] == [17 * GB, 12 * GB, GB]
    assert found["cpu"].memory_bytes == PIPELINE_MEMORY + 22 * GB
    assert list(on(pipe(), None)) == ["cpu"]
    both = replace(pipe(), footprint=Footprint({"text_encoder": 2 * GB, "transformer": 5 * GB}, {}))
    assert both.activations == 5 * GB  # they run one after the other


def test_bitsandbytes_is_put_onto_the_card_by_loading_whatever_is_offloaded_later() -> None:
    assert all(loader.onto_gpu for loader in LOADERS.values())
    found = on(pipe("bitsandbytes"), Card("cuda", 80 * GB))
    assert found["sequential"].device_bytes == 17 * GB + RESERVE
    assert found["none"].memory_bytes == PIPELINE_MEMORY
    assert "onto cuda or mps or xpu only" in found["cpu"].lacks


def test_without_a_card_what_needs_one_leads_to_another_machine() -> None:
    found = Fit(pipe("bitsandbytes"), Machine(Room(None, 64 * GB), 900 * GB))
    assert not found.runs
    assert "`publish can-i-run alice/large --memory 12GB`" in found.verdict


@pytest.mark.parametrize(
    ("scheme", "capability", "lacks"),
    [("int4-weight-only", 7.5, "8.0 is needed"), ("float8-dynamic", 8.0, "8.9 is needed"), ("int8-dynamic", 7.5, "")],
)
def test_a_scheme_for_newer_cards_is_told_to_an_older_one(scheme: str, capability: float, lacks: str) -> None:
    found = on(pipe("torchao", scheme), Card("cuda", 80 * GB, capability))["none"]
    assert lacks in found.lacks
    assert bool(found.lacks) == bool(lacks)
    assert not on(pipe("torchao", scheme), Card("cuda", 80 * GB))["none"].lacks  # one of which only the size is known


def test_what_a_scheme_says_it_runs_on_is_what_it_is_held_to() -> None:
    every = [scheme for schemes in BACKENDS.values() for scheme in schemes.SCHEMES.values()]
    said = [re.search(r"capability ([\d.]+)", scheme.runs_on) for scheme in every]
    assert [scheme.capability for scheme in every] == [float(found[1]) if found else 0 for found in said]


def test_cuda_schemes_do_not_run_on_a_processor_or_on_another_gpu() -> None:
    assert "onto cuda only" in on(pipe("torchao", "int4-weight-only"), None)["cpu"].lacks
    assert "onto cuda only" in on(pipe("torchao", "int4-weight-only"), Card("xpu"))["none"].lacks


def test_memory_of_the_processor_counts_where_weights_lie_in_it() -> None:
    found = on(pipe(), Card("cuda", 20 * GB), memory=10 * GB)
    assert "10.0 GB of memory are free" in found["model"].lacks


def test_a_gpu_that_does_not_say_how_much_it_has_is_a_warning() -> None:
    remark = Fit(pipe(), Machine(Room(Card("mps"), None), 900 * GB)).of_memory()
    assert (remark.level, "--memory" in remark.remedy) == ("warning", True)


def test_libraries_are_held_against_those_it_was_made_with(hub: Hub) -> None:
    needs = read_needs(hub, ONE, None)
    assert needs.plan is not None
    newer = needs.plan.model_copy(update={"versions": {**needs.plan.versions, "torchao": "99.0"}})
    absent = replace(needs, parts={"transformer": replace(needs.parts["transformer"], library="diffusers")}, plan=newer)
    found = {remark.topic: remark for remark in Fit(absent, Machine(Room(None, None), 1)).libraries()}
    assert (found["torchao"].level, "tried it with 99.0" in found["torchao"].text) == ("warning", True)
    assert found["torch"].level == "ok"
    assert not is_older("2.13.0+cpu", "2.13.0")
    assert not is_older("2.13.0", "some build of mine")


def test_a_method_that_nobody_here_knows_is_named() -> None:
    (remark,) = Fit(pipe("exotic"), Machine.another(80 * GB)).unknown()
    assert "exotic" in remark.text


def test_what_was_downloaded_takes_no_room_again() -> None:
    (full,) = Fit(pipe(), Machine(Room(None, None), 16 * GB)).of_disk()
    assert (full.level, "17.0 GB to download" in full.text) == ("problem", True)
    there = cache() / "models--alice--large" / "snapshots" / pipe().commit / "a"
    there.parent.mkdir(parents=True)
    there.touch()
    (remark,) = Fit(pipe(), Machine(Room(None, None), 16 * GB)).of_disk()
    assert (remark.level, "0 B to download" in remark.text) == ("ok", True)
    shutil.rmtree(cache() / "models--alice--large")


@needs_compiler
def test_the_driver_says_how_much_the_first_card_has(tmp_path: Path) -> None:
    code = "from pipeline.backends.available import card; print(card())"
    environment = {**os.environ, **with_driver(tmp_path)}
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == str(Card("cuda", 24 * GB, 8.9))


def test_a_torch_that_cannot_use_the_card_is_told() -> None:
    (remark,) = Fit(pipe(), Machine(Room(None, None), 1, Card("cuda", GB))).of_torch()
    assert "built without it" in remark.text


def test_every_line_ends_in_what_to_do() -> None:
    found = Fit(pipe("exotic"), Machine(Room(None, 1), 1, Card("cuda", GB))).remarks
    assert all(remark.remedy.endswith(".") for remark in found)
