"""A ladder: what there is for each card, from headers and configs, with nothing published twice."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import RemoteChangedError
from pipeline.plan.budget import Candidate, Choice
from pipeline.plan.footprint import CAUSAL, CONVOLVED, DENOISER, RESERVE, Footprint, footprint
from pipeline.plan.ladder import Whole, at_once_first, ladder_of
from pipeline.plan.model import TargetPlan
from pipeline.plan.parts import LadderStep
from pipeline.recipe import Budget, Quantization
from pipeline.source.layout import Component, Folder
from pipeline.source.safetensors import TensorInfo
from tests.desk import AGAIN, Desk, Done, Shelf, desk_in

GIB = 2**30
# The tiny model runs in a few hundred kB beside the reserve; a long text makes its denoiser what needs most, but for
# its VAE, where it has 4 bits.
CARDS = ["600.65MB", "600.8MB", "600.9MB", "601MB"]
CODER = 309446  # bytes of that VAE
LONG = {"max_sequence_length": 104}
LADDER = {"ladder": {"cards": CARDS, "backends": ["quanto"]}}


@pytest.fixture(scope="module")
def desk(stocked: Shelf, answers: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with desk_in(tmp_path_factory.mktemp("ladder"), stocked, answers) as found:
        yield found


@pytest.fixture(scope="module")
def planned(desk: Desk) -> Done:
    return desk.publish("--json", "plan", desk.recipe(LADDER, call=LONG))


def plans(done: Done) -> list[TargetPlan]:
    assert done.code == 0, done.err
    return [TargetPlan.model_validate_json(json.dumps(line["plan"])) for line in done.lines if "plan" in line]


def steps(done: Done) -> Mapping[str, LadderStep]:
    ladder = plans(done)[0].ladder
    assert ladder is not None
    return {step.target: step for step in ladder.steps}


def test_each_target_carries_the_whole_ladder_with_what_the_search_found_for_each_card(planned: Done) -> None:
    every = plans(planned)
    assert [plan.target for plan in every] == ["600.65mb", "600.8mb", "600.9mb", "601mb"]
    assert all(plan.ladder == every[0].ladder for plan in every)
    found = steps(planned)
    assert {name: step.components for name, step in found.items()} == {
        "600.65mb": {"transformer": "quanto int4"},
        "600.8mb": {"transformer": "quanto int8"},
        "600.9mb": {"transformer": "quanto int8"},
        "601mb": {},
    }
    for plan, largest in zip(every[:2], (CODER, every[1].components["transformer"].result_bytes), strict=True):
        step = plan.step
        assert step is not None
        assert (step.taken, step.repository, step.bytes) == (plan.target, plan.repository, plan.result_bytes)
        assert step.memory["model"].weights == largest
        assert plan.budget is not None
        assert step.memory["none"].weights == plan.budget.found.memory_bytes
        assert step.memory["model"].total <= float(step.card.removesuffix("MB")) * 10**6 < step.memory["none"].total


def test_a_card_takes_what_a_smaller_one_gets_or_the_source_where_that_is_the_same(planned: Done) -> None:
    found = steps(planned)
    assert {name: (step.taken, step.repository) for name, step in found.items()} == {
        "600.65mb": ("600.65mb", "alice/tiny-600.65mb"),
        "600.8mb": ("600.8mb", "alice/tiny-600.8mb"),
        "600.9mb": ("600.8mb", "alice/tiny-600.8mb"),
        "601mb": ("", "acme/tiny"),
    }
    assert [line["instead"] for line in planned.lines if "plan" in line] == [
        None,
        None,
        "the same as 600.8mb, so alice/tiny-600.8mb is for a card of 600.9MB, too",
        "the source itself runs on a card of 601MB, so acme/tiny is for it",
    ]


def test_a_card_that_is_added_behind_the_others_leaves_what_they_have_where_it_is(desk: Desk, planned: Done) -> None:
    added = {"ladder": {**LADDER["ladder"], "cards": [*CARDS[2:], *CARDS[:2]]}}
    found = steps(desk.publish("--json", "plan", desk.recipe(added, call=LONG)))
    assert [*found] == [*steps(planned)]  # the smallest first, whatever is named first
    assert {name: step.taken for name, step in found.items()} == {
        "600.65mb": "600.65mb",
        "600.8mb": "600.9mb",
        "600.9mb": "600.9mb",
        "601mb": "",
    }
    assert found["600.8mb"].repository == "alice/tiny-600.9mb"


def test_what_is_the_same_as_another_is_not_published(desk: Desk) -> None:
    recipe = desk.recipe(LADDER, call=LONG)
    done = desk.publish("--json", "run", recipe, "--target", "600.9mb", "--target", "601mb")
    assert done.code == 0, done.err
    outcomes = done.lines[-1]["result"]
    assert [(each["target"], each["state"], each["tag"]) for each in outcomes] == [
        ("600.9mb", "same", None),
        ("601mb", "same", None),
    ]
    assert any("is not published: the same as 600.8mb" in str(line.get("text")) for line in done.lines)
    assert not any(desk.shelf.api.repo_exists(each["repository"]) for each in outcomes)
    refused = desk.publish("tune", recipe, "--target", "600.9mb")
    assert refused.code == 2
    assert "There is nothing to tune: it is the same as 600.8mb" in refused.err


def test_a_card_is_not_sent_to_what_was_found_otherwise_when_it_was_published(desk: Desk, planned: Done) -> None:
    small, made, larger, _ = plans(planned)
    earlier = made.model_copy(update={"components": small.components})
    desk.shelf.api.create_repo(made.repository)
    content = {"publish/plan.json": earlier.model_dump_json().encode(), "publish/manifest.json": b'{"files": {}}'}
    commit = desk.shelf.commit_files(content, made.repository, f"Publish 600.8mb ({made.digest[:12]}) (#2)")
    desk.shelf.api.create_tag(made.repository, tag="v1", revision=commit)
    with pytest.raises(
        RemoteChangedError, match="quanto int4 is published, and transformer quanto int8 was found"
    ) as told:
        desk.engine(desk.recipe(LADDER, call=LONG)).begin(larger.target, "release")
    assert told.value.remedy.endswith("--target 600.8mb --rebuild`.")
    desk.shelf.api.delete_repo(made.repository)


def test_status_knows_from_the_plan_of_one_step_that_another_is_not_to_be_published(desk: Desk, planned: Done) -> None:
    recipe, made = desk.recipe(LADDER, call=LONG), plans(planned)[1]
    desk.shelf.api.create_repo(made.repository)
    content = {"publish/plan.json": made.model_dump_json().encode(), "publish/manifest.json": b'{"files": {}}'}
    desk.shelf.commit_files(content, made.repository, AGAIN)
    done = desk.publish("--json", "status", recipe)
    assert done.code == 0, done.err
    found = {each["target"]: each for each in done.lines[-1]["targets"]}
    assert {target: each["state"] for target, each in found.items()} == {
        "600.65mb": "unpublished",
        "600.8mb": "untagged",
        "600.9mb": "same",
        "601mb": "same",
    }
    assert found["601mb"]["findings"][0]["text"].startswith("not published: the source itself runs on a card of 601MB")


def test_a_step_is_planned_alone_as_it_is_among_the_others(desk: Desk, planned: Done) -> None:
    engine = desk.engine(desk.recipe(LADDER, call=LONG))
    engine.prepare(["600.8mb"])
    assert engine.planner.plan("600.8mb").model_dump(mode="json") == plans(planned)[1].model_dump(mode="json")


def test_people_see_the_ladder_once(desk: Desk) -> None:
    shown = desk.publish("plan", desk.recipe(LADDER, call=LONG))
    assert shown.code == 0, shown.err
    assert shown.err.count("which of these for which card") == 1
    rows = [line.split() for line in shown.err.splitlines() if line.startswith(("600.65MB", "601MB"))]
    assert [row[:2] for row in rows] == [["600.65MB", "600.65mb"], ["601MB", "the"]]
    assert "601.1 MB * 600.6 MB 600.6 MB" in " ".join(rows[0])
    assert "600.65mb: transformer quanto int4" in shown.err
    assert "600.9mb: not published: the same as 600.8mb" in shown.err
    assert "601mb: not published: the source itself runs on a card of 601MB" in shown.err
    assert [shown.err.count(f"{name} → alice/") for name in ("600.8mb", "600.9mb", "601mb")] == [1, 0, 0]
    assert "by models, one component there at a time" in " ".join(shown.err.split())


def test_all_cards_on_which_nothing_runs_are_refused_where_they_stand_with_what_is_in_the_way(desk: Desk) -> None:
    written = {"ladder": {"cards": ["601MB", "600.4MB", "600.5MB"], "backends": ["quanto"]}}
    recipe = desk.recipe(written, call=LONG)
    refused = desk.publish("plan", recipe)
    line = recipe.read_text().split("\n").index('        "600.4MB",') + 1
    assert refused.code == 2
    assert "Nothing runs on a card of 600.5 MB: text_encoder_2 alone takes 600.6 MB of it at least" in refused.err
    assert f"{recipe}:{line}:9: Nothing runs on a card of 600.4 MB" in refused.err
    assert "Leave these cards out" in refused.err


def test_what_others_get_is_no_part_of_what_was_asked(planned: Done) -> None:
    plan = plans(planned)[0]
    assert plan.ladder is not None
    fewer = plan.model_copy(update={"ladder": plan.ladder.model_copy(update={"steps": plan.ladder.steps[:1]})})
    assert fewer.digest == plan.digest == plan.model_copy(update={"ladder": None}).digest
    assert fewer.build_key == plan.build_key


def test_a_recipe_without_a_ladder_has_no_word_of_one_in_its_plan(desk: Desk) -> None:
    made = {"one": {"transformer": {"backend": "quanto", "scheme": "int8"}}}
    made["two"] = {"budget": {"memory": "2MB", "backends": ["quanto"]}}
    engine = desk.engine(desk.recipe(made))
    assert not any("ladder" in engine.planner.plan(target).model_dump(mode="json") for target in made)


FLUX_VAE = {"block_out_channels": [128, 256, 512, 512], "latent_channels": 16}
FLUX = {"guidance_embeds": True, "patch_size": 1}
QWEN_VAE = {"base_dim": 96, "temperal_downsample": [False, True, True]}
WAN_VAE = {
    "base_dim": 160,
    "decoder_base_dim": 256,
    "patch_size": 2,
    "scale_factor_spatial": 16,
    "scale_factor_temporal": 4,
}
SDXL_VAE = {"block_out_channels": [128, 256, 512, 512], "scaling_factor": 0.13025}
SDXL = {"block_out_channels": [320, 640, 1280], "sample_size": 128}


def working(
    folder: Path,
    coder: dict[str, Any],
    denoiser: dict[str, Any],
    across: int,
    task: str = "text-to-image",
    encoder: str = "T5EncoderModel",
    **call: Any,
) -> dict[str, int]:
    """What a pipeline of these configs takes, whose denoiser has matrices of this width."""
    kinds = {
        "transformer": ("diffusers", "A"),
        "vae": ("diffusers", "AutoencoderKL"),
        "text_encoder": ("transformers", encoder),
    }
    for name, config in (("vae", coder), ("transformer", denoiser)):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "config.json").write_text(json.dumps(config))
    parts = {name: Component(name=name, library=of[0], class_name=of[1], small=()) for name, of in kinds.items()}
    widths = {"transformer": across, "vae": 512, "text_encoder": 4096}
    slots = {
        name: {
            "file": {"a": TensorInfo("BF16", (8, wide), 0, 16 * wide), "b": TensorInfo("BF16", (wide,), 0, 2 * wide)}
        }
        for name, wide in widths.items()
    }
    return dict(footprint(Folder(folder), parts, slots, call, task).working)


def test_what_is_reckoned_of_flux_is_near_what_was_published(tmp_path: Path) -> None:
    """GiB of derekl35/diffusers-quantization-benchmarks, peak less what was loaded, and of diffusers/benchmarks."""
    found = working(tmp_path, FLUX_VAE, FLUX, 3072, height=1024, width=1024)
    peak = max(found.values()) / GIB
    published = {"bfloat16": 4.8, "nf4": 4.7, "bnb int8": 5.1, "torchao int8": 4.5, "float8": 4.5, "quanto int8": 4.5}
    assert max(found, key=lambda name: found[name]) == "vae"
    assert peak == pytest.approx(5.0)
    assert all(-0.1 <= peak - measured <= 0.5 for measured in published.values())
    assert peak - 3.8 < 1.21  # quanto int4, the most that it is off
    forward = 22.6 - 11.901e9 * 2 / GIB  # GiB, of the transformer's parameters in bfloat16
    assert 0 < found["transformer"] / GIB - forward < 0.15
    assert found["text_encoder"] < 0.2 * GIB


def test_what_is_reckoned_of_a_video_is_near_what_was_published(tmp_path: Path) -> None:
    """GB that decoding took a card to in https://github.com/huggingface/diffusers/issues/12097, all in float32."""
    found = working(tmp_path, WAN_VAE, {"patch_size": [1, 2, 2]}, 3072, height=704, width=1280, num_frames=121)
    weights, context = 2.82, 0.5
    assert found["vae"] / 1e9 == pytest.approx((26 - weights - context) / 2, rel=0.05)


def test_what_is_drawn_decides_what_is_reckoned(tmp_path: Path) -> None:
    picture = working(tmp_path, FLUX_VAE, FLUX, 3072, height=1024, width=1024)
    assert working(tmp_path, FLUX_VAE, FLUX, 3072) == picture  # where nothing is said
    larger = working(tmp_path, FLUX_VAE, FLUX, 3072, height=2048, width=1024, max_sequence_length=128)
    assert larger["vae"] == 2 * picture["vae"]
    assert larger["transformer"] == picture["transformer"] * (8192 + 128) // (4096 + 512)
    assert larger["text_encoder"] == picture["text_encoder"] // 4
    unguided = working(tmp_path, FLUX_VAE, {}, 3072, height=1024, width=1024)
    assert unguided["transformer"] == 2 * picture["transformer"]  # the negative prompt goes with it
    assert working(tmp_path, FLUX_VAE, {}, 3072, guidance_scale=0.0) == picture


def test_a_picture_that_is_changed_lies_beside_the_one_that_is_drawn(tmp_path: Path) -> None:
    drawn = working(tmp_path, FLUX_VAE, FLUX, 3072)
    changed = working(tmp_path, FLUX_VAE, FLUX, 3072, "image-to-image")
    assert changed["transformer"] == drawn["transformer"] * (2 * 4096 + 512) // (4096 + 512)
    assert (changed["vae"], changed["text_encoder"]) == (drawn["vae"], drawn["text_encoder"])
    sees = working(tmp_path, FLUX_VAE, FLUX, 3072, "image-to-image", "Qwen2_5_VLForConditionalGeneration")
    reads = working(tmp_path, FLUX_VAE, FLUX, 3072, "text-to-image", "Qwen2_5_VLForConditionalGeneration")
    assert sees["text_encoder"] == reads["text_encoder"] * (512 + 36 * 36) // 512


def test_a_language_model_says_something_of_each_token(tmp_path: Path) -> None:
    told, silent = (
        working(tmp_path, FLUX_VAE, FLUX, 3072, encoder=f"Qwen3{kind}") for kind in ("ForCausalLM", "Model")
    )
    assert told["text_encoder"] - silent["text_encoder"] == 2 * 512 * 8  # of a vocabulary of eight words


def test_a_video_and_a_unet_are_reckoned_by_their_own_shapes(tmp_path: Path) -> None:
    one = working(tmp_path, QWEN_VAE, FLUX, 3072, height=1024, width=1024)
    assert one["vae"] == 2 * CAUSAL * 1024 * 1024 * 96
    video = working(tmp_path, WAN_VAE, {"patch_size": [1, 2, 2]}, 3072, height=704, width=1280, num_frames=121)
    assert video["vae"] == 2 * CAUSAL * 704 * 1280 * 4 // 4 * 256  # four frames at once, of patches of two by two
    assert video["transformer"] == 2 * DENOISER * (31 * 22 * 40 + 512) * 3072
    unet = working(tmp_path, SDXL_VAE, SDXL, 1280)
    assert unet["transformer"] == 2 * DENOISER * 2 * 128 * 128 * 320
    assert unet["vae"] == 2 * CONVOLVED * 1024 * 1024 * 128  # what it was trained for


def test_a_config_that_says_nothing_of_use_is_reckoned_as_what_is_usual(tmp_path: Path) -> None:
    odd: dict[str, Any] = {"block_out_channels": [], "scale_factor_spatial": "8", "base_dim": None, "patch_size": -2}
    usual = working(tmp_path, {}, {"guidance_embeds": True}, 3072)
    assert working(tmp_path, odd, {"guidance_embeds": True, "sample_size": "x"}, 3072) == usual
    assert usual == working(tmp_path, FLUX_VAE, FLUX, 3072)


def quantized(scheme: str) -> Quantization:
    return Quantization(backend="quanto", scheme=scheme)


def choice(noise: float, memory: int) -> Choice:
    return Choice({"one": Candidate(quantized(str(memory)), memory, memory)}, memory, memory, noise)


def test_what_has_room_as_a_whole_comes_first_where_it_is_nearly_as_good() -> None:
    best = [choice(1.0, 90), choice(1.5, 60), choice(1.9, 40), choice(9.0, 10)]
    taken = [at_once_first(best, card, lambda one: one.memory)[0].memory for card in (100, 70, 50, 20)]
    assert taken == [90, 60, 40, 90]
    assert at_once_first(best, 70, lambda one: one.memory)[1:] == [best[0], best[2], best[3]]
    assert at_once_first([], 70, lambda one: one.memory) == []
    assert at_once_first(best, 60, lambda one: one.memory)[0] is best[1]  # with nothing to spare


def test_a_component_runs_on_a_card_that_has_room_for_it_alone_with_nothing_to_spare() -> None:
    taken = Footprint({"one": 10, "two": 30}, {"one": 4, "two": 2})
    assert taken.needs("one", 100) == 100 + 10 + RESERVE
    (large,), (small,) = ([*choice(1.0, size).parts.values()] for size in (100, 80))
    assert taken.running({"one": [large, small]}, RESERVE + 110) == {"one": [large, small]}
    assert taken.running({"one": [large, small]}, RESERVE + 109) == {"one": [small]}
    by_models = taken.memory({"one": 35, "two": 20})["model"]
    assert (by_models.weights, by_models.reckoned) == (20, 30 + RESERVE)  # of which more is at work, not the larger one


def test_a_ladder_goes_from_the_smallest_card_to_the_largest_and_says_how_each_is_run() -> None:
    taken = Footprint({"one": 10, "two": 30}, {"one": 4, "two": 2})
    found = {
        name: Whole({"one": quantized(scheme)}, {"one": scheme}, size, {"one": size, "two": 20}, scheme == "int8", 30.0)
        for name, scheme, size in (("s", "int4", 20), ("m", "int8", 50), ("l", "int8", 50))
    }
    source = Whole({}, {}, 120, {"one": 100, "two": 20})
    cards = {"m": f"{RESERVE + 60}B", "l": f"{RESERVE + 105}B", "s": f"{RESERVE + 50}B"}
    asked = {name: Budget(card=card) for name, card in cards.items()}
    ladder = ladder_of(asked, found, source, taken, {name: f"acme/{name}" for name in cards}, "acme/source")
    assert [(step.target, step.taken, step.offload) for step in ladder.steps] == [
        ("s", "s", "model"),
        ("m", "m", "model"),
        ("l", "m", "none"),
    ]
    assert [step.estimated for step in ladder.steps] == [False, True, True]
    assert {how: (of.weights, of.reckoned - RESERVE) for how, of in ladder.steps[1].memory.items()} == {
        "none": (70, 30),
        "model": (50, 10),
        "sequential": (2, 30),
    }
    (whole,) = ladder_of({"l": Budget(card=f"{RESERVE + 110}B")}, found, source, taken, {}, "acme/source").steps
    assert (whole.taken, whole.repository, whole.bytes, whole.components) == ("", "acme/source", 120, {})
