"""``publish quantize``: one folder or repository, whole or not at all, and with ``--stream`` without a copy of it."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from pipeline.files import hashed
from tests.desk import REPO, TWO, WEIGHTS, Desk, stop

Same = Callable[[str, str], None]
INT8 = ("--backend", "torchao", "--scheme", "int8-weight-only")
NF4 = ("--backend", "bitsandbytes", "--scheme", "nf4")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_pipeline_becomes_what_a_recipe_would_make_of_it(ready_desk: Desk, source: Path) -> None:
    made = ready_desk.publish("--json", "quantize", source, "--out", "made", *INT8)
    assert made.code == 0, made.err
    (checkpoint,) = (ready_desk.home / "store" / "checkpoint").iterdir()
    ours, theirs = contents(ready_desk.folder / "made"), contents(checkpoint)
    notes = [json.loads(files.pop("publish/quantization.json"))["transformer"] for files in (ours, theirs)]
    assert ours == theirs
    said = made.lines[-1]["result"]["components"]["transformer"]
    assert said == notes[0]
    assert [note.pop("source") for note in notes] == [  # as each place knows it: a folder, and the Hub
        {WEIGHTS: {kind: hashed(source / WEIGHTS, new())[0]}} for kind, new in (("blake3", blake3), ("sha256", sha256))
    ]
    assert notes[0] == notes[1]
    assert min(said["sqnr"].values()) > 30
    assert not list(ready_desk.folder.glob(".made*"))


def test_a_result_shares_no_file_with_the_folder_it_was_made_of(desk: Desk, source: Path) -> None:
    assert desk.publish("quantize", source, "--out", "made", *INT8).code == 0
    for path in (desk.folder / "made").rglob("*"):
        assert path.is_dir() or path.stat().st_nlink == 1, path


def test_one_component_is_made_from_its_own_folder(desk: Desk, source: Path) -> None:
    assert desk.publish("quantize", source, "--out", "whole", *NF4, "--option", "double_quant=true").code == 0
    done = desk.publish("quantize", source / "transformer", "--out", "part", *NF4, "--option", "double_quant=true")
    assert done.code == 0, done.err
    whole, part = contents(desk.folder / "whole" / "transformer"), contents(desk.folder / "part")
    assert {name: part[name] for name in whole} == whole


@pytest.mark.nightly
def test_named_components_are_quantized_and_the_others_copied(desk: Desk, source: Path) -> None:
    arguments = ("--component", "text_encoder_2", "--component", "vae", "--keep", "*.wo")
    done = desk.publish("--json", "quantize", source, "--out", "made", *NF4, *arguments)
    if done.code:  # the name that this model gives its modules is told
        assert "names no Linear module" in done.err
        done = desk.publish("--json", "quantize", source, "--out", "made", *NF4, *arguments[:2])
    assert done.code == 0, done.err
    made = contents(desk.folder / "made")
    assert set(done.lines[-1]["result"]["components"]) <= {"text_encoder_2", "vae"}
    assert made[WEIGHTS] == (source / WEIGHTS).read_bytes()


def test_a_streamed_repository_gives_the_same_bytes_and_is_never_stored(desk: Desk, source: Path) -> None:
    for name, further in (("stored", ()), ("streamed", ("--stream",))):
        assert desk.publish("quantize", source, "--out", "local", *INT8).code in {0, 2}
        done = desk.publish("quantize", REPO, "--out", name, *INT8, *further)
        assert done.code == 0, done.err
        kept = [path for path in (desk.home / "store").rglob(Path(WEIGHTS).name) if path.parent.name == "transformer"]
        assert len(kept) == (name == "stored")
        shutil.rmtree(desk.home / "store")
    stored, streamed = contents(desk.folder / "stored"), contents(desk.folder / "streamed")
    assert stored == streamed
    assert stored[WEIGHTS] == contents(desk.folder / "local")[WEIGHTS]


def test_a_recipe_streamed_makes_the_checkpoint_of_one_that_was_fetched(ready_desk: Desk) -> None:
    (fetched,) = (ready_desk.home / "store" / "checkpoint").iterdir()
    want = contents(fetched)
    for stage in ("checkpoint", "fetch"):
        shutil.rmtree(ready_desk.home / "store" / stage)
    done = ready_desk.publish("run", ready_desk.recipe(TWO), "--target", "one", "--stream", "--stop-after", "quantize")
    assert done.code == 0, done.err
    (streamed,) = (ready_desk.home / "store" / "checkpoint").iterdir()
    assert contents(streamed) == want
    (source,) = (ready_desk.home / "store" / "fetch").iterdir()
    assert not (source / WEIGHTS).exists()


@pytest.mark.parametrize(
    ("stage", "name", "code"),
    [("checkpoint", WEIGHTS, 5), ("fetch", WEIGHTS, 4), ("fetch", WEIGHTS.replace("transformer", "vae"), 4)],
)
def test_what_a_disk_damages_between_two_stages_is_refused(ready_desk: Desk, stage: str, name: str, code: int) -> None:
    store = ready_desk.home / "store"
    (weights,) = (store / stage).glob(f"*/{name}")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.chmod(0o644)
    weights.write_bytes(content)
    shutil.rmtree(store / "release")
    if stage == "fetch":
        shutil.rmtree(store / "checkpoint")
    done = ready_desk.publish("run", ready_desk.recipe(TWO), "--target", "one")
    assert done.code == code, done.err
    assert name in done.error
    assert "is not " in done.error or "no longer what was downloaded" in done.error
    if (stage, name) == ("fetch", WEIGHTS):  # what is damaged was removed, so the same command goes on
        done = ready_desk.publish("run", ready_desk.recipe(TWO), "--target", "one", "--stop-after", "quantize")
        assert done.code == 0, done.err
    assert not ready_desk.shelf.api.repo_exists("alice/tiny-one")


@pytest.mark.nightly
def test_a_variant_is_judged_and_made_under_plain_names(ready_desk: Desk, source: Path) -> None:
    (plain,) = (ready_desk.home / "store" / "checkpoint").iterdir()
    want = contents(plain)
    varied = ready_desk.folder / "varied"
    shutil.copytree(source, varied)
    for path in [*varied.glob("*/*.safetensors")]:
        path.rename(path.with_suffix(".fp16.safetensors"))
    recipe = ready_desk.recipe(source={"path": "varied", "variant": "fp16"})
    done = ready_desk.publish("run", recipe, "--hub", "local", "--stop-after", "validate")
    assert done.code == 0, done.err
    made = [contents(folder) for folder in (ready_desk.home / "store" / "checkpoint").iterdir()]
    assert len(made) == 2
    for found in made:
        found.pop("publish/quantization.json")  # it names the files that were read
    want.pop("publish/quantization.json")
    assert made == [want, want]


def test_bytes_that_the_hub_damages_on_the_way_are_refused(desk: Desk, same: Same) -> None:
    tree = {path.name: path for path in (desk.shelf.root / "objects" / "sha256").rglob("*") if path.is_file()}
    largest = max(tree.values(), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[-100] ^= 1
    largest.chmod(0o644)
    largest.write_bytes(content)
    done = desk.publish("quantize", REPO, "--out", "made", *INT8, "--stream")
    assert done.code == 4, done.err
    same("streamed_flipped", desk.plain(done.error))
    assert not (desk.folder / "made").exists()


def test_a_killed_command_is_continued_by_the_same_one(desk: Desk, source: Path) -> None:
    big = desk.folder / "big"
    shutil.copytree(source, big)
    child = desk.start("--json", "quantize", big, "--out", "made", *INT8)
    deadline = time.monotonic() + 60
    while not list(desk.folder.glob(".made.making/making/*/transformer")) and time.monotonic() < deadline:
        time.sleep(0.005)
    stop(child, signal.SIGKILL)
    assert not (desk.folder / "made" / "model_index.json").exists() or not list(desk.folder.glob(".made*"))
    shutil.rmtree(desk.folder / "made", ignore_errors=True)
    assert desk.publish("quantize", big, "--out", "made", *INT8).code == 0
    assert not list(desk.folder.glob(".made*"))
    assert desk.publish("quantize", source, "--out", "again", *INT8).code == 0
    made, again = contents(desk.folder / "made"), contents(desk.folder / "again")
    assert made == again


@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("out_there", ("--out", "there", *INT8), 2),
        ("no_such_option", ("--out", "made", *NF4, "--option", "double_quants=true"), 2),
        ("no_such_scheme", ("--out", "made", "--backend", "torchao", "--scheme", "nf4"), 2),
        ("no_such_component", ("--out", "made", *INT8, "--component", "transfomer"), 2),
        ("no_such_variant", ("--out", "made", *INT8, "--variant", "fp16"), 4),
        ("no_device", ("--out", "made", *INT8, "--device", "cuda"), 3),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_paragraph(
    desk: Desk, source: Path, same: Any, name: str, arguments: tuple[str, ...], code: int
) -> None:
    (desk.folder / "there").mkdir()
    (desk.folder / "there" / "file").touch()
    done = desk.publish("quantize", source, *arguments)
    assert done.code == code, done.err
    text = "\n".join(done.err.splitlines()) if name.startswith("no_such_") and code == 2 else done.error
    same(f"quantize_{name}", desk.plain(text).replace(str(source), "SOURCE").replace("\n", " ¶ "))
    assert not (desk.folder / "made").exists()
    assert not list(desk.folder.glob(".made*"))
