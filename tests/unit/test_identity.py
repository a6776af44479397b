"""A plan's identity: what was asked and of what source decides what is published already, and no version does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from pipeline.files import digest_of, manifest_of
from pipeline.hub.client import RemoteState
from pipeline.hub.withdrawn import Shown, Withdrawals
from pipeline.plan.model import TargetPlan, read_plan
from pipeline.release.earlier import OnDisk
from pipeline.run import published_as

RELEASED = (Path(__file__).parent / "released" / "plan-0.3.0.json").read_bytes()  # as version 0.3.0 published it
RELEASED_DIGEST = "b38f1aae631adccf8b8beb9a185ab05a4ce5378c6e0d15ba093a02db9a7780de"  # that version's name for it
Change = Callable[[dict[str, Any]], Any]


def changed(change: Change) -> TargetPlan:
    content = json.loads(RELEASED)
    change(content)
    return TargetPlan.model_validate_json(json.dumps(content))


def transformer(plan: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = plan["components"]["transformer"]
    return found


def add_judge_commit(plan: dict[str, Any]) -> None:
    plan["validation"]["require"]["clip_score"]["revision"] = plan["validation"]["judges"]["clip_score"]


AN_UPGRADE: dict[str, Change] = {
    "of this program": lambda plan: plan["versions"].update(quantpress="9.0"),
    "of a library": lambda plan: plan["versions"].update(torchao="9.0", torch="9.0", diffusers="9.0"),
    "that adds a library": lambda plan: plan["versions"].update(another="1.0"),
    "of a card's template": lambda plan: plan.update(template_digest="0" * 64),
    "that lays out a result otherwise": lambda plan: transformer(plan).update(result_bytes=1, tensors=1, parameters=1),
    "that keeps a module more": lambda plan: transformer(plan)["kept"].update(proj_out="left alone by diffusers"),
    "that reads one more file of a commit": lambda plan: plan["files"].update({"notes.txt": {"size": 1}}),
    "that has a recipe name the commit of a judge": add_judge_commit,
}
ANOTHER: dict[str, Change] = {
    "commit of the source": lambda plan: plan["source"].update(revision="0" * 40),
    "variant of it": lambda plan: plan["source"].update(variant="fp16"),
    "repository": lambda plan: plan.update(repository="acme/other"),
    "visibility": lambda plan: plan.update(private=True),
    "scheme": lambda plan: transformer(plan)["quantization"].update(scheme="float8-weight-only", options={}),
    "option": lambda plan: transformer(plan)["quantization"].update(options={"group_size": 32}),
    "module to keep": lambda plan: transformer(plan)["quantization"].update(keep=["proj_out"]),
    "dtype": lambda plan: transformer(plan)["quantization"].update(dtype="float16"),
    "component": lambda plan: plan["components"].update(vae=transformer(plan)),
    "prompt": lambda plan: plan["validation"]["prompts"][0].update(prompt="another"),
    "seed": lambda plan: plan["validation"].update(seeds=[7]),
    "argument of the call": lambda plan: plan["validation"]["call"].update(num_inference_steps=1),
    "limit": lambda plan: plan["validation"]["require"]["psnr"].update(min=31.0),
    "requirement": lambda plan: plan["validation"]["require"].pop("psnr"),
    "judge": lambda plan: plan["validation"]["judges"].update(clip_score="0" * 40),
    "template": lambda plan: plan.update(template="another"),
    "way to compile it": lambda plan: plan["validation"].update(compile={"components": ["transformer"]}),
}


@pytest.mark.parametrize("upgrade", AN_UPGRADE)
def test_an_upgrade_republishes_nothing(upgrade: str) -> None:
    plan = changed(AN_UPGRADE[upgrade])
    assert published_as(plan, RemoteState("head", RELEASED, {"v3": "head"}, "head"), Withdrawals()) == "v3"
    assert plan.digest == changed(lambda _: None).digest
    assert plan.content_digest != RELEASED_DIGEST


@pytest.mark.parametrize("what", ANOTHER)
def test_whoever_asks_for_another_thing_publishes_it(what: str) -> None:
    plan = changed(ANOTHER[what])
    assert published_as(plan, RemoteState("head", RELEASED, {"v3": "head"}, "head"), Withdrawals()) is None


def test_a_file_of_a_folder_is_part_of_the_source() -> None:
    def folder(plan: dict[str, Any]) -> None:
        plan["source"] = {"path": "source"}

    def trained_again(plan: dict[str, Any]) -> None:
        folder(plan)
        plan["files"]["model_index.json"]["size"] += 1

    assert changed(folder).asks_the_same(changed(folder))
    assert not changed(folder).asks_the_same(changed(trained_again))


def test_files_of_this_disk_are_known_by_the_digests_of_an_older_release(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    (tmp_path / "style.safetensors").write_text("style")
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "README.md").write_text("# Clip\n")

    def on_disk(by: str, pin: str) -> TargetPlan:
        def named(name: str) -> dict[str, Any]:
            content = (tmp_path / name).read_bytes()
            digest = blake3(content).hexdigest() if by == "blake3" else hashlib.sha256(content).hexdigest()
            return {"size": len(content), by: digest}

        lora = {"path": "style", "file": "style.safetensors", "scale": 1.0, "how": "fused"}
        made = {"source": {"path": "source"}, "files": {"model_index.json": named("model_index.json")}}
        made["loras"] = [{**lora, "listed": named("style.safetensors")}]
        return changed(lambda plan: (plan.update(made), plan["validation"]["judges"].update(clip_score=pin)))

    before = on_disk("sha256", digest_of(manifest_of(tmp_path / "clip").model_dump()))
    now = on_disk("blake3", "of what it reads")
    disk = OnDisk(tmp_path, {0: tmp_path / "style.safetensors"}, {"clip_score": tmp_path / "clip"})
    assert not now.asks_the_same(before)
    assert disk.listed(now, before).asks_the_same(before)
    for path in (tmp_path / "model_index.json", tmp_path / "style.safetensors", tmp_path / "clip" / "README.md"):
        kept = path.read_text()
        path.write_text(kept[::-1] + "x")
        assert not disk.listed(now, before).asks_the_same(before), path
        path.write_text(kept)


def test_the_license_of_a_folder_is_part_of_the_source_and_unknown_of_an_older_release() -> None:
    def said(license_name: str | None) -> TargetPlan:
        told = {} if license_name is None else {"source_card": {"license": license_name}}
        return changed(lambda plan: plan.update({"source": {"path": "source"}, **told}))

    assert said("mit").asks_the_same(said("mit"))
    assert not said("other").asks_the_same(said("mit"))
    assert said("other").asks_the_same(said(None))


def test_what_a_budget_finds_with_other_versions_is_what_was_asked() -> None:
    asked = {"size_ratio": 0.5, "components": ["transformer"]}
    found = {"components": {"transformer": "torchao int8"}, "size_ratio": 0.4, "memory_bytes": 1, "sqnr": 30.0}

    def budget(plan: dict[str, Any]) -> None:
        plan["budget"] = {"asked": asked, "found": found, "runner_up": None}

    def found_otherwise(plan: dict[str, Any]) -> None:
        plan["budget"] = {"asked": asked, "found": {**found, "sqnr": 31.0}, "runner_up": found}
        transformer(plan)["quantization"].update(scheme="float8-weight-only", options={})

    def smaller(plan: dict[str, Any]) -> None:
        plan["budget"] = {"asked": {**asked, "size_ratio": 0.4}, "found": found, "runner_up": None}

    assert changed(budget).asks_the_same(changed(found_otherwise))
    assert not changed(budget).asks_the_same(changed(smaller))


def test_an_older_release_keeps_the_name_that_withdrawals_know_it_by() -> None:
    plan = read_plan(RELEASED)
    assert plan is not None
    assert plan.content_digest == RELEASED_DIGEST
    beneath = Withdrawals(shown=Shown(tag="v2", commit="older", plan=RELEASED_DIGEST))
    upgraded = changed(AN_UPGRADE["of a library"])
    assert published_as(upgraded, RemoteState("head", RELEASED, {"v2": "older"}, "head"), beneath) == "v2"


def test_a_scheme_that_is_no_more_is_still_read() -> None:
    plan = changed(lambda plan: transformer(plan)["quantization"].update(scheme="of old", options={"x": 1}))
    assert plan.asks_the_same(plan)
    assert not plan.asks_the_same(changed(lambda _: None))


def test_a_copy_of_a_plan_has_its_own_digests() -> None:
    plan = changed(lambda _: None)
    names = ("digest", "content_digest", "build_key", "verdict_key")
    before = {name: getattr(plan, name) for name in names}
    copied = plan.model_copy(update={"components": {}, "validation": plan.validation.model_copy(update={"seeds": ()})})
    assert [name for name in names if getattr(copied, name) == before[name]] == []


STATIC = {"backend": "onnx", "scheme": "int8-static", "options": {"samples": 1, "embeddings": True}}
DYNAMIC = {"backend": "onnx", "scheme": "int8", "options": {"embeddings": True}}


def asking(quantization: dict[str, Any], change: Change = lambda _: None) -> TargetPlan:
    """Return a plan of two questions, and something else in them or in the call."""

    def content(plan: dict[str, Any]) -> None:
        transformer(plan)["quantization"].update(quantization)
        plan["validation"]["prompts"] = [{"prompt": "a fox", "label": "fox"}, {"prompt": "a hat", "label": "hat"}]
        change(plan["validation"])

    return changed(content)


@pytest.mark.parametrize(
    ("change", "makes_anew"),
    [
        (lambda asked: asked["prompts"][0].update(prompt="a red fox"), True),
        (lambda asked: asked["prompts"][0].update(files={"audio": f"{'0' * 64}.wav"}), True),
        (lambda asked: asked["call"].update(num_beams=5), True),
        (lambda asked: asked["prompts"][0].update(label="a fox"), False),
        (lambda asked: asked["prompts"][1].update(prompt="a red hat"), False),
    ],
    ids=["a sample", "a file of one", "the call", "what it should answer", "a question that is none"],
)
def test_what_ranges_are_read_off_decides_over_bytes(change: Change, makes_anew: bool) -> None:
    assert (asking(STATIC, change).build_key != asking(STATIC).build_key) == makes_anew
    assert asking(DYNAMIC, change).build_key == asking(DYNAMIC).build_key
