"""Trials: whether a recipe holds together is known before its source is touched, and nothing is released."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.desk import Desk
from tests.tasks.language_models import llama

RECIPES = Path(__file__).parents[2] / "recipes"
DIGITS = RECIPES / "digits"
NOWHERE = "http://127.0.0.1:9"  # discard; nothing listens there
INT8 = {"backend": "torchao", "scheme": "int8-weight-only"}


def tried(desk: Desk, path: Path, *options: str | Path) -> dict[str, dict[str, Any]]:
    """Try a recipe and return what became of each target."""
    done = desk.publish("--json", "run", path, "--trial", *options)
    assert done.code == 0, done.err
    return {one["target"]: one for one in done.lines[-1]["result"]}


def classed(desk: Desk, kind: str, repo: str = "acme/large") -> dict[str, str]:
    """Put a pipeline on the Hub that says no more of itself than its class, and return it as a source."""
    desk.shelf.api.create_repo(repo)
    index = json.dumps({"_class_name": kind}).encode()
    card = b"---\nlicense: apache-2.0\n---\n# Large\n"
    return {"repo": repo, "revision": desk.shelf.commit_files({"model_index.json": index, "README.md": card}, repo)}


def calling(path: Path, **call: Any) -> Path:
    """Have a recipe call its pipeline so, and as it would for real."""
    written = json.loads(path.read_text())
    written["validation"]["call"] = {"num_inference_steps": 50, "height": 1024, "width": 1024, **call}
    path.write_text(json.dumps(written))
    return path


def test_a_trial_asks_no_hub_keeps_nothing_and_says_what_it_could_not_try(desk: Desk, source: Path) -> None:
    targets = {
        "one": {"transformer": {**INT8, "keep": ["*proj_out"]}},
        "on-a-gpu": {"transformer": {"backend": "torchao", "scheme": "int4-weight-only"}},
        "small": {"budget": {"size_ratio": 0.8}},
    }
    judge = {"model": "openai/clip-vit-large-patch14", "revision": "0" * 40, "drop": {"max": 0}}
    require = {"psnr": {"min": 60}, "clip_score": judge, "clip_similarity": {"min": 1}}
    path = desk.recipe(targets, {"path": str(source)}, require, {"num_inference_steps": 30})
    desk.extra, desk.token = {"HF_ENDPOINT": NOWHERE}, ""
    found = tried(desk, path, "--out", desk.folder / "pages")
    assert {name: (one["state"], one["trial"]) for name, one in found.items()} == {
        "one": ("tried", True),
        "on-a-gpu": ("untried", True),
        "small": ("untried", True),
    }
    one, told = found["one"], "\n".join(found["one"]["told"])
    assert one["repository"] == "alice/source-one"
    assert one["verdict"] == "INCONCLUSIVE"  # of an impossible limit, which refuses nothing here
    assert 0 < one["result_bytes"] < one["source_bytes"]
    assert "transformer: " in told
    assert "clip_score is not measured" in told
    assert "clip_similarity is not measured" in told
    assert "CUDA" in found["on-a-gpu"]["told"][0]
    assert "publish plan" in found["small"]["told"][0]
    (page,) = (desk.folder / "pages").iterdir()
    assert page.name == "report-one.html"
    shown = page.read_text()
    assert "Report on alice/source-one, tried on the source itself" in shown
    assert shown.count("data:image/") == 2  # the stand-in's picture and the target's
    assert not (desk.home / "temporary").exists()
    assert not (desk.home / "store").exists()


def test_a_trial_has_no_stage_to_end_after(desk: Desk) -> None:
    done = desk.publish("run", desk.recipe(), "--trial", "--stop-after", "card")
    assert done.code == 2
    assert "--trial" in done.error
    done = desk.publish("run", desk.recipe(), "--out", desk.folder / "pages")
    assert done.code == 2
    assert "publish report RECIPE --out DIR" in done.error
    done = desk.publish("run", desk.recipe(), "--trial", "--out", desk.recipe())
    assert (done.code, "This is a file where a folder is needed." in done.error) == (2, True)


@pytest.mark.nightly
def test_a_gated_source_is_tried_with_a_tiny_model_of_the_class_that_its_tags_name(desk: Desk) -> None:
    where = classed(desk, "StableDiffusionXLPipeline")
    tags = b"---\nlicense: openrail++\ntags: ['diffusers:StableDiffusionXLPipeline']\n---\n# Large\n"
    where["revision"] = desk.shelf.commit_files({"README.md": tags}, where["repo"])
    desk.shelf.api.update_repo_settings(where["repo"], gated="manual")
    desk.token = ""
    unet = {"backend": "bitsandbytes", "scheme": "nf4", "dtype": "float16", "keep": ["*.attn1", "up_blocks.7.*"]}
    found = tried(desk, calling(desk.recipe({"one": {"unet": unet}}, where)))
    assert found["one"]["state"] == "tried", found
    assert found["one"]["stand_in"].startswith("a tiny StableDiffusionXLPipeline")
    assert any("'up_blocks.7.*' is not tried" in text for text in found["one"]["told"])


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("call", "keep", "said"),
    [
        ({"guidance_scle": 3.0}, [], "did you mean 'guidance_scale'?"),
        ({}, ["*.atnn"], "'*.atnn' names no Linear module"),
    ],
)
def test_a_mistake_that_needs_no_weights_ends_a_trial_as_it_would_a_run(
    desk: Desk, call: dict[str, Any], keep: list[str], said: str
) -> None:
    where = classed(desk, "StableDiffusion3Pipeline")
    path = desk.recipe({"one": {"transformer": {**INT8, "keep": keep}}}, where)
    done = desk.publish("run", calling(path, **call), "--trial")
    assert done.code == 2, done.err
    assert said in done.error


@pytest.mark.nightly
def test_a_source_that_nobody_can_read_is_tried_with_the_digits_model(desk: Desk) -> None:
    digits = desk.folder / "recipes" / "digits"
    digits.mkdir(parents=True)
    (digits / "source").symlink_to(DIGITS / "source")
    desk.extra = {"HF_ENDPOINT": NOWHERE}
    two = {"transformer": {**INT8, "keep": ["*.img_mlp"]}, "text_encoder_3": INT8}
    found = tried(desk, desk.recipe({"one": two}, call={"true_cfg_scale": 1.0, "strength": 1.0}))["one"]
    told = "\n".join(found["told"])
    assert found["stand_in"].startswith("the digits model")
    assert "text_encoder_3 is not tried" in told
    assert "'*.img_mlp' is not tried" in told
    assert "strength under `call` is not tried" in told


@pytest.mark.nightly
def test_the_digits_recipe_is_tried_with_what_its_folder_holds(desk: Desk) -> None:
    desk.extra, desk.token = {"HF_ENDPOINT": NOWHERE}, ""
    found = tried(desk, DIGITS / "recipe.yaml", "--target", "torchao-int8")["torchao-int8"]
    assert found["repository"] == "digits/digits-flux-torchao-int8"
    assert any("label_accuracy" in text for text in found["told"])  # its judge lies beside it
    assert any("psnr" in text for text in found["told"])


@pytest.mark.nightly
@pytest.mark.parametrize(("read", "kind"), [(True, "a tiny qwen3"), (False, "a tiny bert")])
def test_a_large_single_model_is_tried_as_a_shallow_one_of_its_kind(
    desk: Desk, embedder: Path, read: bool, kind: str
) -> None:
    large = {"num_hidden_layers": 36, "layer_types": ["full_attention"] * 36, "hidden_size": 2560, "vocab_size": 64}
    config = json.dumps({"model_type": "qwen3", "head_dim": 128, "num_attention_heads": 32, **large}).encode()
    words = {name: (embedder / name).read_bytes() for name in ("tokenizer.json", "tokenizer_config.json")}
    desk.shelf.api.create_repo("acme/embedder")
    commit = desk.shelf.commit_files({"config.json": config, **words}, "acme/embedder")
    path = desk.recipe_of_model(Path(), "feature-extraction", require={"overlap_at_10": {"min": 0.5}})
    source = {"repo": "acme/embedder", "revision": commit}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"source": source}))
    desk.extra = {} if read else {"HF_ENDPOINT": NOWHERE}
    found = tried(desk, path)["one"]
    assert found["stand_in"].startswith(kind)
    assert any("overlap_at_10" in text for text in found["told"])


@pytest.mark.nightly
@pytest.mark.parametrize("read", [True, False])
def test_a_chat_model_is_tried_with_its_own_template_or_with_another(desk: Desk, tmp_path: Path, read: bool) -> None:
    small = llama(tmp_path / "small")
    files = {path.name: path.read_bytes() for path in small.iterdir() if path.suffix != ".safetensors"}
    desk.shelf.api.create_repo("acme/chat")
    source = {"repo": "acme/chat", "revision": desk.shelf.commit_files(files, "acme/chat")}
    limits = {"kl_divergence": {"max": 0.5}}
    path = desk.recipe_of_model(small, "text-generation", prompts="chats.jsonl", require=limits)
    (desk.folder / "chats.jsonl").write_text(
        "".join(
            json.dumps({"messages": [{"role": "user", "content": f"Tell me of {word}."}]}) + "\n"
            for word in ("boats", "birds", "trees", "light", "stone", "the sea", "the sun", "rain", "snow")
        )
    )
    card = {"template": "text-generation"}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"source": source, "card": card}))
    desk.extra = {} if read else {"HF_ENDPOINT": NOWHERE}
    found = tried(desk, path)["one"]
    assert found["stand_in"].startswith("a tiny llama" if read else "a tiny qwen3")
    assert any("kl_divergence" in text for text in found["told"])


@pytest.mark.nightly
def test_a_speech_recognizer_hears_made_up_sounds_in_place_of_a_dataset_s(desk: Desk) -> None:
    desk.extra, desk.token = {"HF_ENDPOINT": NOWHERE}, ""
    found = tried(desk, RECIPES / "whisper-tiny.yaml", "--target", "torchao-int8")["torchao-int8"]
    told = "\n".join(found["told"])
    assert found["stand_in"].startswith("a tiny whisper")
    assert "language under `call` is not tried" in told
    assert "token_agreement" in told
