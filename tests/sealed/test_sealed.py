"""What one machine made and judged, another one releases as it is, and neither makes nor believes anything."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.card.compose import USAGE_NOTES
from pipeline.errors import CannotHereError, PublishError, RecipeError, VerdictError, VerificationError
from pipeline.files import Manifest, manifest_of, pretty_json, sha256_file
from pipeline.hub.release_files import CARD, MANIFEST, PLAN, REPORT, USAGE
from pipeline.plan.model import TargetPlan
from pipeline.release.sealed import seal_into
from pipeline.release.smoke_test import SnippetSmokeTest
from tests.desk import TWO, WEIGHTS, Desk, Done, Shelf, once, opened

MINE = "alice/tiny-one"


@pytest.fixture(scope="session")
def sealed(stocked: Shelf, ready: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Target ``one`` as it is sealed, beside the recipe that it was made of."""

    def make(folder: Path) -> None:
        shutil.copytree(stocked.root, folder / "hub", symlinks=True)
        shutil.copytree(ready, folder / "home", symlinks=True)
        with opened(folder / "hub", stocked) as shelf:
            desk = Desk(folder, shelf, folder / "home")
            command = ("run", desk.recipe(TWO), "--target", "one", "--seal", folder / "sealed", "--stop-after")
            early = desk.publish(*command, "validate")
            assert (early.code, early.error) == (
                2,
                "error: --seal: What is sealed is released later. Add `--stop-after card`; `publish release` goes on "
                "from there.",
            )
            done = desk.publish(*command, "card")
            assert done.code == 0, done.err
            following = f"next: publish release {desk.recipe(TWO)} --sealed {folder / 'sealed'} --target one"
            assert following in done.err

    return once(tmp_path_factory, "sealed", make) / "sealed"


@pytest.fixture
def desk(stocked: Shelf, sealed: Path, tmp_path: Path) -> Iterator[Desk]:
    """Another machine, that has what was sealed and nothing else."""
    shutil.copytree(stocked.root, tmp_path / "hub", symlinks=True)
    (tmp_path / "desk").mkdir()
    shutil.copytree(sealed, tmp_path / "desk" / "sealed")
    with opened(tmp_path / "hub", stocked) as shelf:
        yield Desk(tmp_path / "desk", shelf, tmp_path / "home")


def released(desk: Desk, *options: object) -> Done:
    """Release target ``one``."""
    return desk.publish("release", desk.recipe(TWO), "--target", "one", "--sealed", desk.folder / "sealed", *options)


def refused(desk: Desk, kind: type[PublishError], manifest: str = "", recipe: Path | None = None) -> str:
    """Return why target ``one`` is not released."""
    engine = desk.engine(recipe or desk.recipe(TWO))
    with pytest.raises(kind) as raised:
        engine.release_sealed("one", desk.folder / "sealed" / "one", manifest)
    assert not desk.shelf.api.repo_exists(MINE)
    return desk.plain(str(raised.value))


def test_what_was_sealed_is_released_byte_for_byte_and_nothing_is_fetched_or_made(desk: Desk) -> None:
    listing = desk.folder / "sealed" / "one" / MANIFEST
    done = released(desk, "--manifest", sha256_file(listing))
    assert done.code == 0, done.err
    assert desk.shelf.tags(MINE) == ["v1"]
    served = {name: file.sha256 for name, file in Manifest.model_validate_json(listing.read_bytes()).files.items()}
    for name, digest in served.items():
        assert sha256_file(Path(desk.shelf.api.hf_hub_download(MINE, name))) == digest
    read = [seen.path for seen in desk.shelf.faults.seen if "acme/tiny" in seen.path]
    assert not [path for path in read if "/resolve/" in path or "safetensors" in path]
    assert {path.name for path in (desk.home / "store").iterdir()} <= {"locks", "making"}
    # The same again is no release.
    assert released(desk).code == 0
    assert desk.shelf.tags(MINE) == ["v1"]


def test_a_target_that_nobody_sealed_is_named(desk: Desk) -> None:
    shutil.rmtree(desk.folder / "sealed" / "one")
    done = desk.publish("release", desk.recipe(TWO), "--sealed", desk.folder / "sealed", "--target", "one")
    assert done.code == 3
    assert desk.plain(done.error) == (
        "FOLDER/sealed/one: Nothing sealed of one is here to release. Make it with `publish run FOLDER/recipe.yaml "
        "--target one --stop-after card --seal FOLDER/sealed`."
    )


def test_the_folder_of_one_target_and_what_is_no_digest_are_told_with_what_to_give(desk: Desk) -> None:
    place = desk.folder / "sealed"
    deep = desk.publish("release", desk.recipe(TWO), "--sealed", place / "one", "--target", "one")
    assert deep.code == 3
    assert desk.plain(deep.error).endswith(
        "FOLDER/sealed/one is what was sealed of one target; name its parent, FOLDER/sealed."
    )
    strange = released(desk, "--manifest", "abc")
    assert (strange.code, strange.error.startswith("error: --manifest: 'abc' is no SHA-256.")) == (2, True)


def appended(folder: Path) -> str:
    with (folder / WEIGHTS).open("ab") as file:
        file.write(b"\0")
    return WEIGHTS


def flipped(folder: Path) -> str:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS).write_bytes(content)
    return WEIGHTS


def added(folder: Path) -> str:
    (folder / "pickle.bin").write_bytes(b"")
    return "pickle.bin"


def removed(folder: Path) -> str:
    (folder / CARD).unlink()
    return CARD


@pytest.mark.parametrize("tamper", [appended, flipped, added, removed])
def test_what_is_not_what_was_sealed_is_refused(desk: Desk, tamper: Callable[[Path], str]) -> None:
    name = tamper(desk.folder / "sealed" / "one")
    what = "This file is missing, was added or was changed since it was sealed; nothing was published."
    assert refused(desk, VerificationError).startswith(f"FOLDER/sealed/one/{name}: {what}")


def test_a_manifest_of_other_bytes_is_not_the_one_that_was_sealed(desk: Desk) -> None:
    listing = desk.folder / "sealed" / "one" / MANIFEST
    told = sha256_file(listing)
    flipped(listing.parents[1])
    listing.unlink()
    listing.write_bytes(pretty_json(manifest_of(listing.parents[1]).model_dump(mode="json")))
    assert "This manifest is not the one that was sealed" in refused(desk, VerificationError, told)
    listing.write_bytes(b"{}")
    assert "publish/manifest.json cannot be read" in refused(desk, VerificationError)


def test_what_was_made_of_another_recipe_is_refused(desk: Desk) -> None:
    changed = desk.recipe(TWO, require={"size_ratio": {"max": 1.5}})
    assert "made of this recipe when it said something else" in refused(desk, RecipeError, recipe=changed)
    elsewhere = desk.recipe(TWO, destination={"name": "other-{target}"})
    assert "not target one for alice/other-one" in refused(desk, RecipeError, recipe=elsewhere)


def forge(folder: Path, name: str, content: bytes) -> None:
    """Put other content into a sealed folder, with a manifest that lists it."""
    for file, made in ((name, lambda: content), (MANIFEST, lambda: listing_of(folder))):
        (folder / file).unlink(missing_ok=True)
        (folder / file).write_bytes(made())


def listing_of(folder: Path) -> bytes:
    return pretty_json(manifest_of(folder).model_dump(mode="json"))


def altered(folder: Path, name: str, **values: object) -> bytes:
    return pretty_json({**json.loads((folder / name).read_bytes()), **values})


def test_what_did_not_pass_is_refused_however_true_its_manifest(desk: Desk) -> None:
    folder = desk.folder / "sealed" / "one"
    forge(folder, REPORT, altered(folder, REPORT, verdict="FAIL"))
    assert "was judged FAIL; nothing was published" in refused(desk, VerdictError)


@pytest.mark.parametrize(
    ("name", "forged", "told"),
    [
        (USAGE, lambda _: b"print('anything')\n", "publish/usage.py:1 says"),
        (CARD, lambda folder: (folder / CARD).read_bytes() + b"99 dB\n", "README.md:"),
        (PLAN, lambda folder: altered(folder, PLAN, private=True), "publish/plan.json has private"),
        (PLAN, lambda folder: altered(folder, PLAN, components={}), "publish/plan.json has"),
        (REPORT, lambda _: b"{}", "publish/report.json cannot be read"),
        ("evil.py", lambda _: b"", "neither the source's nor one that a release writes"),
        ("transformer/pytorch_model.bin", lambda _: b"", "neither the source's nor one that a release writes"),
    ],
)
def test_whoever_sealed_it_is_not_believed(desk: Desk, name: str, forged: Callable[[Path], bytes], told: str) -> None:
    folder = desk.folder / "sealed" / "one"
    forge(folder, name, forged(folder))
    assert told in refused(desk, VerificationError)


def test_prompts_that_changed_since_are_another_recipe(desk: Desk) -> None:
    prompts = desk.recipe(TWO).with_name("prompts.jsonl")
    prompts.write_text(prompts.read_text() + '{"prompt": "one more"}\n')
    engine = desk.engine(prompts.with_name("recipe.yaml"))
    with pytest.raises(VerificationError, match="The prompts of"):
        engine.release_sealed("one", desk.folder / "sealed" / "one")


def test_folders_that_changed_since_are_refused_each_by_its_name(desk: Desk, source: Path) -> None:
    for name, file in (("style", "style.safetensors"), ("clip", "config.json")):
        (desk.folder / name).mkdir()
        (desk.folder / name / file).write_text("{}")
    shutil.copytree(source, desk.folder / "model")
    path = desk.recipe(source={"path": "model"}, require={"clip_score": {"model": "./clip", "drop": {"max": 1}}})
    path.write_text(json.dumps({**json.loads(path.read_text()), "loras": [{"path": "style", "how": "loaded"}]}))
    plan, _ = desk.engine(path).plan("one", releases=False)
    place = desk.folder / "sealed" / "one"
    desk.engine(path).require_unchanged(plan, place)
    for name in ("style/style.safetensors", "clip/config.json", f"model/{WEIGHTS}"):
        (desk.folder / name).write_bytes((desk.folder / name).read_bytes() + b" ")
    (desk.folder / "model" / "LICENSE").write_text("Mine.\n")
    with pytest.raises(VerificationError) as raised:
        desk.engine(path).require_unchanged(plan, place)
    assert desk.plain(str(raised.value)) == (
        "FOLDER/sealed/one: Since it was sealed the LoRA style, style.safetensors, the judge of clip_score, LICENSE of "
        f"the source model and {WEIGHTS} of the source model changed; nothing was published. Make it again with "
        "`publish run FOLDER/recipe.yaml --target one --stop-after card --seal FOLDER/sealed`."
    )


@pytest.mark.nightly
def test_a_source_in_a_folder_that_changed_since_is_not_released(desk: Desk, embedder: Path) -> None:
    shutil.copytree(embedder, desk.folder / "model")
    path = desk.recipe_of_model(Path("model"), "feature-extraction", require={"size_ratio": {"max": 2.0}})
    made = desk.publish("run", path, "--stop-after", "card", "--seal", desk.folder / "sealed")
    assert made.code == 0, made.err
    (desk.folder / "model" / "vocab.txt").write_text("[PAD]\n")
    done = desk.publish("release", path, "--sealed", desk.folder / "sealed")
    assert done.code == 10, done.err
    assert "Since it was sealed vocab.txt of the source model changed" in done.error
    assert not desk.shelf.api.repo_exists("alice/tiny-bert-one")


def test_what_is_sealed_takes_the_place_of_nothing_else(desk: Desk, tmp_path: Path) -> None:
    folder, there = desk.folder / "sealed" / "one", tmp_path / "work" / "one"
    there.mkdir(parents=True)
    (there / "thesis.txt").touch()
    (tmp_path / "link").symlink_to(folder)
    for place in (there, there / "thesis.txt", tmp_path / "link"):
        with pytest.raises(RecipeError, match="Something that was not sealed lies"):
            seal_into(folder, place)
    assert (there / "thesis.txt").is_file()
    seal_into(folder, tmp_path / "again")
    assert (tmp_path / "again" / WEIGHTS).stat().st_nlink == (folder / WEIGHTS).stat().st_nlink == 2
    assert (tmp_path / "again" / CARD).stat().st_nlink == 1


def unused(folder: Path) -> TargetPlan:
    """Have a card say that its snippet was not run, and return the plan."""
    report = json.loads((folder / REPORT).read_bytes())
    note = next(note for note, executed in USAGE_NOTES.items() if not executed)
    (folder / REPORT).unlink()
    (folder / REPORT).write_bytes(pretty_json({**report, "usage": note}))
    return TargetPlan.model_validate_json((folder / PLAN).read_bytes())


def test_a_card_that_says_its_snippet_ran_is_released_only_where_it_can_run(desk: Desk) -> None:
    folder = desk.folder / "sealed" / "one"
    plan = TargetPlan.model_validate_json((folder / PLAN).read_bytes())
    part = plan.components["transformer"]
    quantization = part.quantization.model_copy(update={"backend": "bitsandbytes", "scheme": "nf4", "options": {}})
    wants_gpu = plan.model_copy(
        update={"components": {"transformer": part.model_copy(update={"quantization": quantization})}}
    )
    here, there = (SnippetSmokeTest(one, desk.home) for one in (plan, wants_gpu))
    here.require_able(folder)
    with pytest.raises(CannotHereError, match="no device here can run it"):
        there.require_able(folder)
    unused(folder)
    there.require_able(folder)


@pytest.mark.nightly
def test_a_snippet_that_the_card_says_was_not_run_is_not_run_whatever_this_machine_could(desk: Desk) -> None:
    folder = desk.folder / "sealed" / "one"
    trial = SnippetSmokeTest(unused(folder), desk.home)
    (folder / USAGE).unlink()
    assert trial("0" * 40, folder) == "it loaded as validation loaded it; the snippet needs a GPU"
