"""LoRAs of a recipe, from its plan to the checkpoint and what is said of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from uses.conftest import loaded

from pipeline.card.provenance import dependencies
from pipeline.errors import PublishError, RecipeError
from pipeline.files import hashed, sha256_file
from pipeline.plan.model import TargetPlan
from pipeline.store import Store
from tests.desk import ONE, Desk, Shelf, contents, desk_in, torn

LORA = "acme/style"
LOADED_AND_FUSED = ((0.7, "fused"), (0.5, "loaded"))


@pytest.fixture
def desk(stocked: Shelf, answers: Path, tmp_path: Path) -> Iterator[Desk]:
    with desk_in(tmp_path, stocked, answers) as found:
        yield found


def recipe(desk: Desk, *loras: dict[str, Any], source: Path | None = None) -> Path:
    path = desk.recipe(ONE, source={"path": str(source)} if source else None)
    written = json.loads(path.read_text()) | {"loras": list(loras)}
    path.write_text(json.dumps(written, indent=2))
    return path


def made(desk: Desk, path: Path) -> tuple[TargetPlan, Path]:
    """Return the plan and the checkpoint of a recipe's only target."""
    engine = desk.engine(path)
    (ended,) = engine.run(["one"], stop_after="quantize")
    if isinstance(ended, PublishError):
        raise ended
    plan, _ = engine.plan("one")
    return plan, engine.store.root / "checkpoint" / plan.build_key


def upload(desk: Desk, *files: tuple[Path, str]) -> str:
    desk.shelf.api.create_repo(LORA, exist_ok=True)
    return desk.shelf.commit_files({name: file.read_bytes() for file, name in files}, LORA)


@pytest.fixture(scope="module")
def result(
    stocked: Shelf, answers: Path, lora: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TargetPlan, Path]:
    """Make a target of a source on the Hub with a LoRA on the Hub."""
    with desk_in(tmp_path_factory.mktemp("fused"), stocked, answers) as desk:
        commit = upload(desk, (lora, "style.safetensors"))
        return made(desk, recipe(desk, {"repo": LORA, "revision": commit, "scale": 0.7, "how": "fused"}))


def test_a_target_is_quantized_from_the_source_with_the_lora_in_it(
    result: tuple[TargetPlan, Path], desk: Desk, source: Path, lora: Path, tmp_path: Path
) -> None:
    pipe = loaded(source, "bfloat16")
    pipe.load_lora_weights(lora.parent, weight_name=lora.name, adapter_name="style")
    pipe.fuse_lora(components=pipe._lora_loadable_modules, lora_scale=0.7)
    pipe.unload_lora_weights()
    pipe.save_pretrained(tmp_path / "fused")
    _, wanted = made(desk, desk.recipe(ONE, source={"path": str(tmp_path / "fused")}))
    for path in wanted.rglob("*.safetensors"):
        assert path.read_bytes() == (result[1] / path.relative_to(wanted)).read_bytes()


def test_the_plan_names_the_lora_its_file_and_what_is_done_with_it(result: tuple[TargetPlan, Path], lora: Path) -> None:
    plan, _ = result
    (pinned,) = plan.loras
    assert (pinned.repo, pinned.file, pinned.scale, pinned.how) == (LORA, "style.safetensors", 0.7, "fused")
    assert pinned.listed.sha256 == sha256_file(lora)
    assert "peft" in plan.versions


def test_provenance_names_the_lora_and_not_the_fused_bytes_as_the_source(
    result: tuple[TargetPlan, Path], source: Path
) -> None:
    plan, folder = result
    weights = json.loads((folder / "publish" / "quantization.json").read_bytes())
    found = {entry.name: entry for entry in dependencies(plan.model_dump(mode="json"), {"weights": weights})}
    style = found["style.safetensors"]
    assert style.digest == {"sha256": plan.loras[0].listed.sha256}
    assert style.uri == f"pkg:huggingface/{LORA}@{plan.loras[0].revision}#style.safetensors"
    assert style.annotations == {"lora": LORA, "scale": 0.7, "how": "fused"}
    name = "transformer/diffusion_pytorch_model.safetensors"
    assert found[name].digest == {"sha256": plan.files[name].sha256}
    assert weights["transformer"]["source"][name]["blake3"] != hashed(source / name, blake3())[0]


def test_a_recipe_without_loras_keeps_its_plan_and_one_with_them_has_its_own(
    desk: Desk, source: Path, lora: Path
) -> None:
    def plan(*loras: dict[str, Any]) -> TargetPlan:
        return desk.engine(recipe(desk, *loras, source=source)).plan("one")[0]

    bare, written = plan(), {"path": str(lora.parent)}
    assert "loras" not in bare.model_dump(mode="json")
    fused, weaker = plan({**written, "how": "fused"}), plan({**written, "how": "fused", "scale": 0.5})
    tried = plan({**written, "how": "loaded"})
    assert len({digest.build_key for digest in (bare, fused, weaker)}) == 3
    assert tried.build_key == bare.build_key
    assert len({digest.verdict_key for digest in (bare, fused, weaker, tried)}) == 4
    assert fused.source_content != bare.source_content == tried.source_content


def test_what_does_not_fit_is_told_before_the_source_is_fetched(desk: Desk, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "beside").symlink_to("/etc")  # nobody asked about that
    stranger = tmp_path / "downloads" / "stranger.safetensors"
    save_file({f"unet.mid.to_q.lora_{side}.weight": torch.ones(4, 4) for side in "AB"}, stranger)
    with pytest.raises(RecipeError, match=r"unet\.mid\.to_q"):
        made(desk, recipe(desk, {"path": str(stranger), "how": "fused"}))
    assert not list((desk.home / "store").rglob("*.safetensors"))


def test_of_several_files_one_must_be_named(desk: Desk, source: Path, lora: Path, tmp_path: Path) -> None:
    (other := tmp_path / "other.safetensors").write_bytes(b"{}")
    commit = upload(desk, (lora, "a.safetensors"), (other, "b.safetensors"))
    with pytest.raises(RecipeError, match=r"several files: a.safetensors, b.safetensors. Say which one is meant"):
        desk.engine(recipe(desk, {"repo": LORA, "revision": commit, "how": "fused"}, source=source)).plan("one")
    named = {"repo": LORA, "revision": commit, "file": "b.safetensors", "how": "loaded"}
    plan, _ = desk.engine(recipe(desk, named, source=source)).plan("one")
    assert plan.loras[0].file == "b.safetensors"


def test_a_component_to_compile_must_be_one_of_the_source(desk: Desk) -> None:
    path = recipe(desk)
    written = json.loads(path.read_text())
    written["validation"]["compile"] = {"components": ["unet"]}
    path.write_text(json.dumps(written))
    with pytest.raises(RecipeError, match="The source has no component 'unet'"):
        desk.engine(path).plan("one")


@pytest.mark.nightly
def test_a_lora_that_is_loaded_is_a_line_of_the_report_and_is_tried_once(desk: Desk, lora: Path) -> None:
    (desk.folder / "style").mkdir()
    shutil.copy(lora, desk.folder / "style" / "style.safetensors")
    path = recipe(desk, {"path": "style/style.safetensors", "how": "loaded"})
    stop = ("--target", "one", "--stop-after", "validate")
    assert desk.publish("run", path, *stop).code == 0
    (report,) = (desk.home / "store" / "report").glob("*/report.json")
    (use,) = json.loads(report.read_bytes())["uses"]
    assert (use["kind"], use["name"], use["verdict"]) == ("lora", "style/style.safetensors", "PASS")

    tried = {file: file.stat().st_mtime_ns for file in (desk.home / "store" / "uses").rglob("*") if file.is_file()}
    written = json.loads(path.read_text())
    written["validation"]["require"]["size_ratio"]["max"] = 0.1
    path.write_text(json.dumps(written))
    done = desk.publish("run", path, *stop)
    assert done.code == 6
    assert "size_ratio is" in done.error
    assert {
        file: file.stat().st_mtime_ns for file in (desk.home / "store" / "uses").rglob("*") if file.is_file()
    } == tried


@pytest.mark.nightly
def test_whatever_a_kill_left_half_made_of_loras_is_made_whole(desk: Desk, lora: Path) -> None:
    commit = upload(desk, (lora, "style.safetensors"))
    styles = [{"repo": LORA, "revision": commit, "scale": scale, "how": how} for scale, how in LOADED_AND_FUSED]
    run = ("run", recipe(desk, *styles), "--stop-after", "card")
    assert desk.publish(*run).code == 0
    stages = {path.parent.name for path in (desk.home / "store").glob("*/*") if path.is_dir()} - {"making", "locks"}
    assert {"fused", "adapted", "uses"} < stages
    before = {stage: contents(desk.home, stage) for stage in stages}
    for stage in stages:
        torn(Store(desk.home / "store"), stage)
    done = desk.publish(*run)
    assert done.code == 0, done.err
    assert {stage: contents(desk.home, stage) for stage in stages} == before
