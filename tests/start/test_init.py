"""Nobody begins with an empty file: a model becomes a recipe that has no problems, from what its headers say."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from jsonschema.validators import validator_for
from ruamel.yaml import YAML

from pipeline.backends import SCHEMES
from pipeline.card.preview import problems
from pipeline.card.render import templates
from pipeline.errors import CannotHereError, PublishError, RecipeError, SourceError
from pipeline.fleet.advice import rows_for
from pipeline.fleet.starter import find, needs_of, start
from pipeline.fleet.starter.calls import MAPPINGS, caller, families, tasks_of
from pipeline.fleet.starter.needs import Weighed, Weights, serve
from pipeline.plan.footprint import Footprint
from pipeline.recipe import Vocabulary, load
from pipeline.source.layout import Folder
from pipeline.tasks import TASKS
from pipeline.trial import tiny
from tests.desk import REPO, Desk
from tests.tasks.language_models import llama

VOCABULARY = Vocabulary(SCHEMES, frozenset(templates()), TASKS)
BILLION = 10**9
SQUARE = {"height": 128, "width": 128}


def renamed(source: Path, folder: Path, pipeline: str) -> Path:
    """Copy a pipeline under the name of another class; its files stay what they are."""
    shutil.copytree(source, folder)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": pipeline}))
    return folder


@pytest.mark.parametrize(
    ("pipeline", "task", "call"),
    [
        (
            "FluxPipeline",
            "text-to-image",
            {"num_inference_steps": 28, "guidance_scale": 3.5, "height": 128, "width": 128},
        ),
        ("QwenImageEditPipeline", "image-to-image", {**SQUARE, "num_inference_steps": 50}),
        (
            "StableDiffusionXLInpaintPipeline",
            "inpainting",
            {"num_inference_steps": 50, "guidance_scale": 7.5, "strength": 0.9999},
        ),
        (
            "WanPipeline",
            "text-to-video",
            {"num_inference_steps": 50, "guidance_scale": 5.0, "height": 480, "width": 832, "num_frames": 81},
        ),
    ],
)
def test_a_pipeline_becomes_a_recipe_without_problems(
    source: Path, tmp_path: Path, pipeline: str, task: str, call: dict[str, float]
) -> None:
    found = find(Folder(renamed(source, tmp_path / "tiny", pipeline)), "", "")
    out = tmp_path / "recipes" / "tiny.yaml"
    started = start(found, out, "alice", needs_of("cpu,12gb-gpu"))
    assert [str(problem) for problem in problems(out, VOCABULARY)] == []
    recipe = load(out, VOCABULARY, models=True).recipe
    assert (recipe.task, dict(recipe.validation.call)) == (task, call)
    assert recipe.repositories == {"torchao-int8": "alice/tiny-torchao-int8"}
    assert started.targets == {"torchao-int8": ("cpu", "12gb-gpu")}
    lines = [json.loads(line) for line in (out.parent / "prompts.jsonl").read_text().splitlines()]
    assert len(lines) >= 12  # so many that a search may keep some back
    assert all(set(line) == {"prompt", *TASKS[task].files} for line in lines)


def test_an_embedder_becomes_one_with_its_own_pooling_and_dtype(embedder: Path, tmp_path: Path) -> None:
    model = shutil.copytree(embedder, tmp_path / "My Bert.v2")
    (model / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    start(find(Folder(model), "", ""), tmp_path / "bert.yaml", "alice", ())
    assert [str(problem) for problem in problems(tmp_path / "bert.yaml", VOCABULARY)] == []
    recipe = load(tmp_path / "bert.yaml", VOCABULARY).recipe
    assert recipe.task == "feature-extraction"
    assert recipe.validation.call == {"pooling": "cls", "normalize": True}
    assert recipe.named("torchao-int8")["model"].dtype == "float32"
    assert recipe.repositories == {"torchao-int8": "alice/My-Bert.v2-torchao-int8"}


def test_int8_of_what_is_in_float16_is_in_bfloat16(tmp_path: Path) -> None:
    """torchao 0.18 multiplies by the codes before it does by their scale, of which sums overflow float16."""
    whisper, processor = tiny.listener()
    for part in (whisper.half(), processor):
        part.save_pretrained(tmp_path / "whisper")
    start(find(Folder(tmp_path / "whisper"), "", ""), tmp_path / "whisper.yaml", "alice", ())
    assert load(tmp_path / "whisper.yaml", VOCABULARY).recipe.named("torchao-int8")["model"].dtype == "bfloat16"


def test_the_web_gets_a_graph_that_a_browser_tries_and_a_board_is_tried_within_its_limits(
    embedder: Path, tmp_path: Path
) -> None:
    started = start(find(Folder(embedder), "", ""), tmp_path / "bert.yaml", "alice", needs_of("web,embedded,memory"))
    assert started.targets == {"onnx-q8": ("web",), "torchao-int8": ("embedded",), "bnb-nf4": ("memory",)}
    assert [str(problem) for problem in problems(tmp_path / "bert.yaml", VOCABULARY)] == []
    recipe = load(tmp_path / "bert.yaml", VOCABULARY).recipe
    for target, name in (("web", "onnx-q8"), ("embedded", "torchao-int8"), ("memory", "bnb-nf4")):
        (part,), (row,) = recipe.named(name).values(), rows_for(target)
        assert (part.backend, part.scheme) == row.choose[0]
    assert recipe.named("onnx-q8")["model"].dtype == "float32"
    assert (recipe.validation.browser.questions, recipe.validation.device.threads) == (4, 1)
    start(find(Folder(embedder), "", ""), tmp_path / "plain.yaml", "alice", needs_of("cpu"))
    plain = load(tmp_path / "plain.yaml", VOCABULARY).recipe.validation
    assert (plain.browser, plain.device) == (None, None)


def test_a_chat_model_is_tried_in_a_browser_too(tmp_path: Path) -> None:
    start(find(Folder(llama(tmp_path / "chat")), "", ""), tmp_path / "chat.yaml", "alice", needs_of("web"))
    assert [str(problem) for problem in problems(tmp_path / "chat.yaml", VOCABULARY)] == []
    recipe = load(tmp_path / "chat.yaml", VOCABULARY).recipe
    assert (list(recipe.repositories), recipe.validation.browser.questions) == (["onnx-q8"], 4)


def test_what_serves_other_programs_is_what_is_advised_for_them(source: Path, embedder: Path, tmp_path: Path) -> None:
    chat = llama(tmp_path / "chat")
    for model, needs, names in (
        (chat, "server,one-file", {"ct-fp8": {"model"}, "gguf-q8_0": {"model"}}),
        (source, "comfyui", {"comfy-int8-convrot": {"transformer"}}),
    ):
        out = tmp_path / f"{needs}.yaml"
        started = start(find(Folder(model), "", ""), out, "alice", needs_of(needs))
        assert [str(problem) for problem in problems(out, VOCABULARY)] == []
        recipe = load(out, VOCABULARY).recipe
        assert {name: set(recipe.named(name)) for name in recipe.targets} == names
        for target, (need,) in started.targets.items():
            (row,) = rows_for(need)
            assert {(part.backend, part.scheme) for part in recipe.named(target).values()} == {row.choose[0]}
    for model, need in ((chat, "comfyui"), (embedder, "one-file")):
        with pytest.raises(RecipeError, match=f"{need} is served by .*, which takes none of its components"):
            start(find(Folder(model), "", ""), tmp_path / "no.yaml", "alice", needs_of(need))


@pytest.mark.parametrize(("needs", "dtype"), [("cpu", "float32"), ("cpu,embedded", "float32"), ("cpu,8gb-gpu", "")])
def test_what_is_for_processors_alone_is_in_float32(tmp_path: Path, needs: str, dtype: str) -> None:
    from transformers import AutoModelForCausalLM

    chat = llama(tmp_path / "chat")
    AutoModelForCausalLM.from_pretrained(chat, dtype="bfloat16").save_pretrained(chat)
    start(find(Folder(chat), "", ""), tmp_path / "chat.yaml", "alice", needs_of(needs))
    assert ("dtype: float32}" in (tmp_path / "chat.yaml").read_text()) == bool(dtype)
    assert load(tmp_path / "chat.yaml", VOCABULARY).recipe.named("torchao-int8")["model"].dtype == (dtype or "bfloat16")


@pytest.mark.parametrize(("others", "dtype"), [(10, "float32"), (90, "")])
def test_a_model_whose_tables_would_outgrow_the_source_is_left_in_its_own_dtype(others: int, dtype: str) -> None:
    nothing = Footprint({"model": 0}, {"model": 0})
    weights = Weights({"model": Weighed(100 - others, 2 * others, 2, "transformers")}, 100, nothing)
    assert serve(weights, ("cpu",), "model")[0].scheme.dtype == dtype


def test_a_pipeline_is_none_for_the_web(source: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="No component of a pipeline is exported"):
        start(find(Folder(source), "", ""), tmp_path / "tiny.yaml", "alice", needs_of("cpu,web"))


def test_editors_find_the_schema_where_the_recipe_says(source: Path, tmp_path: Path) -> None:
    def schema(name: str) -> tuple[str, bool]:
        out = tmp_path / name
        started = start(find(Folder(source), "", ""), out, "alice", ())
        (said,) = re.findall(r"^# yaml-language-server: \$schema=(.*)$", out.read_text(), re.MULTILINE) or [""]
        if said:
            written = YAML(typ="safe").load(out)
            validator_for(found := json.loads((out.parent / said).read_bytes()))(found).validate(written)
        return said, str(out.parent / "recipe.schema.json") in started.new

    assert schema("one.yaml") == ("recipe.schema.json", True)
    assert schema("two.yaml") == ("recipe.schema.json", False)
    assert schema("mine/recipe.yaml") == ("../recipe.schema.json", False)
    place = tmp_path / "recipe.schema.json"
    current = place.read_bytes()
    place.write_text('{"title": "A quantpress recipe"}')  # of an earlier version
    assert schema("three.yaml") == ("recipe.schema.json", True)
    assert place.read_bytes() == current
    place.write_text("[]")  # somebody's own
    assert schema("four.yaml") == ("", False)
    assert schema("theirs/recipe.yaml") == ("recipe.schema.json", True)
    assert place.read_text() == "[]"


def test_every_key_of_it_has_a_comment(source: Path, tmp_path: Path) -> None:
    start(find(Folder(source), "", ""), tmp_path / "tiny.yaml", "alice", ())
    lines = (tmp_path / "tiny.yaml").read_text().splitlines()
    noted = [line for above, line in pairwise(lines) if "#" in line or above.strip().startswith("#")]
    told = {line.strip().partition(":")[0] for line in noted}
    keys = {line.strip().partition(":")[0] for line in lines if not line.strip().startswith("#")}
    assert keys - told == {"destination", "transformer"}  # whose own keys, and whose target, say it


def test_names_of_a_source_cannot_write_into_it(source: Path, tmp_path: Path) -> None:
    hostile = "Flux\nshared: [x]\x07"
    model = renamed(source, tmp_path / "tiny", hostile)
    (model / "README.md").write_text("---\nlicense: other\nlicense_name: 'a\n\n  b: c'\n---\n")
    start(find(Folder(model), "text-to-image", ""), tmp_path / "tiny.yaml", "alice", ())
    assert [str(problem) for problem in problems(tmp_path / "tiny.yaml", VOCABULARY)] == []
    assert (tmp_path / "tiny.yaml").read_text().startswith("# Flux shared: [x] , ")


def flux() -> Weights:
    """The sizes of FLUX.1-dev: transformer, T5, CLIP and VAE; beside them what pictures of 1024 pixels take."""
    parts = {
        "transformer": Weighed(int(11.8 * BILLION), int(0.2 * BILLION), 2, "diffusers"),
        "text_encoder_2": Weighed(int(4.6 * BILLION), int(0.3 * BILLION), 2, "transformers"),
        "text_encoder": Weighed(0, int(0.25 * BILLION), 2, "transformers"),
        "vae": Weighed(0, int(0.17 * BILLION), 2, "diffusers"),
    }
    beside = {"transformer": 570 << 20, "text_encoder_2": 80 << 20, "text_encoder": 15 << 20, "vae": 5 << 30}
    return Weights(parts, int(16.9 * BILLION), Footprint(beside, dict.fromkeys(beside, 100 << 20)))


def test_each_need_gets_the_best_that_fits_it() -> None:
    served = serve(flux(), needs_of("8gb-gpu, 12gb-gpu,16GB-gpu,24gb-gpu,cpu"), "flux")
    assert [(each.need, each.scheme.target, each.offloaded) for each in served] == [
        ("8gb-gpu", "bnb-nf4", True),
        ("12gb-gpu", "bnb-nf4", True),
        ("16gb-gpu", "bnb-nf4", False),
        ("24gb-gpu", "torchao-int8", False),
        ("cpu", "torchao-int8", False),
    ]
    assert [each.need for each in serve(flux(), (), "flux")] == ["8gb-gpu", "cpu"]


def test_needs_that_are_served_alike_share_a_target_and_limits_are_those_of_the_coarsest(
    source: Path, tmp_path: Path
) -> None:
    large = replace(find(Folder(source), "", ""), weights=flux())
    started = start(large, tmp_path / "flux.yaml", "alice", needs_of("8gb-gpu,16gb-gpu,24gb-gpu,cpu"))
    assert started.targets == {"bnb-nf4": ("8gb-gpu", "16gb-gpu"), "torchao-int8": ("24gb-gpu", "cpu")}
    assert [str(problem) for problem in problems(tmp_path / "flux.yaml", VOCABULARY)] == []
    recipe = load(tmp_path / "flux.yaml", VOCABULARY).recipe
    four = recipe.named("bnb-nf4")
    assert {name: part.options["double_quant"] for name, part in four.items()} == {
        "transformer": True,
        "text_encoder_2": True,
    }
    assert recipe.validation.require.psnr.min == 16
    said = "# For 8gb-gpu (one component at a time: enable_model_cpu_offload) and 16gb-gpu: about "
    assert said in (tmp_path / "flux.yaml").read_text()


def test_a_card_that_is_too_small_is_refused_with_those_that_are_not() -> None:
    nothing = Footprint({"transformer": 0}, {"transformer": 0})
    large = Weights({"transformer": Weighed(32 * BILLION, 0, 2, "diffusers")}, 32 * BILLION, nothing)
    with pytest.raises(RecipeError, match=r"8gb-gpu is too small.* takes 17.2 GB\. Give --for 24gb-gpu,cpu"):
        serve(large, needs_of("8gb-gpu,24gb-gpu"), "large")
    assert [each.need for each in serve(large, (), "large")] == ["24gb-gpu", "cpu"]


@pytest.mark.parametrize(
    ("words", "told"),
    [("8bg-gpu", "unknown need '8bg-gpu'. Did you mean 8gb-gpu?"), ("tpu", "8gb-gpu, 12gb-gpu"), (" ,", "no need")],
)
def test_a_need_that_is_none_is_told_with_the_nearest(words: str, told: str) -> None:
    with pytest.raises(RecipeError) as refused:
        needs_of(words)
    assert told in str(refused.value)
    assert str(refused.value).count("24gb-gpu") == 1  # the words are told once


def test_what_pipelines_are_for_is_what_diffusers_says() -> None:
    from diffusers.pipelines import auto_pipeline

    for name, task in MAPPINGS.items():
        theirs = {family: kind.__name__ for family, kind in getattr(auto_pipeline, name).items()}
        assert theirs.items() <= families()[task].items()
        assert families()[task].keys() - theirs.keys() <= {"kolors", "kolors-pag"}  # where sentencepiece is
    assert tasks_of("FluxKontextPipeline") == ["text-to-image", "image-to-image"]
    assert tasks_of("HunyuanVideoPipeline") == ["text-to-video"]  # in no list, and told by its call
    assert tasks_of("WanImageToVideoPipeline") == tasks_of("StableAudioPipeline") == tasks_of("NoSuchPipeline") == []
    assert caller("inpainting", "FluxPipeline") == "FluxInpaintPipeline"


def refusal(place: Path, **options: str) -> PublishError:
    with pytest.raises(PublishError) as refused:
        find(Folder(place), options.get("task", ""), options.get("variant", ""))
    return refused.value


def test_a_pipeline_for_several_tasks_is_asked_about_unless_its_card_says_it(source: Path, tmp_path: Path) -> None:
    kontext = renamed(source, tmp_path / "kontext", "FluxKontextPipeline")
    refused = refusal(kontext)
    assert isinstance(refused, RecipeError)
    assert "text-to-image or image-to-image" in refused.what
    assert "--task text-to-image" in refused.remedy
    assert find(Folder(kontext), "image-to-image", "").subject.task == "image-to-image"
    (kontext / "README.md").write_text("---\npipeline_tag: image-to-image\n---\n")
    assert find(Folder(kontext), "", "").subject.task == "image-to-image"
    assert "Did you mean image-to-image?" in refusal(kontext, task="image-to-imagee").remedy


def test_a_model_for_another_task_is_told_what_can_be_done_with_it(classifier: Path) -> None:
    refused = refusal(classifier)
    assert isinstance(refused, SourceError)
    assert "A BertForSequenceClassification for text-classification is for none of text-to-image," in refused.what
    assert "publish quantize" in refused.remedy


def test_a_repository_is_pinned_to_its_newest_commit_and_can_be_planned(desk: Desk) -> None:
    pasted = f"{desk.shelf.endpoint}/{REPO}"
    done = desk.publish("init", pasted, "--for", "cpu", python=("-X", "importtime"))
    assert done.code == 0, done.err
    assert " torch\n" not in done.err
    assert "next: publish check tiny.yaml" in done.out
    recipe = load(desk.folder / "tiny.yaml", VOCABULARY).recipe
    assert (recipe.source.origin, recipe.source.revision) == (REPO, desk.shelf.commit)
    assert recipe.destination.namespace == "alice"  # whose token it is
    assert "`publish advise --for cpu` says int8-dynamic" in (desk.folder / "tiny.yaml").read_text()
    engine = desk.engine(desk.folder / "tiny.yaml")
    (name,) = engine.prepare()
    assert engine.plan(name)[0].components["transformer"].quantization.scheme == "int8-weight-only"
    again = desk.publish("init", REPO)
    assert again.code == 2
    assert "tiny.yaml: This file is there already, and is left as it is. Name another with --out" in again.error


def test_a_gated_source_names_its_license_and_where_it_is_accepted(desk: Desk) -> None:
    card = b"---\nlicense: other\nlicense_name: tiny-1.0\nlicense_link: LICENSE.md\n---\n# Tiny\n"
    desk.shelf.commit_files({"README.md": card})
    desk.shelf.api.update_repo_settings(REPO, gated="auto")
    desk.token = "carol"
    done = desk.publish("init", REPO)
    assert done.code == 4
    page = f"{desk.shelf.endpoint}/{REPO}"
    assert f"under the license tiny-1.0 ({page}/blob/main/LICENSE.md)" in done.error
    assert f"Accept it at {page}, signed in" in done.error
    assert not (desk.folder / "tiny.yaml").exists()


def test_without_a_token_a_namespace_is_asked_for_and_a_folder_needs_no_hub(
    desk: Desk, source: Path, tmp_path: Path
) -> None:
    shutil.copytree(source, desk.folder / "model")
    desk.token = ""
    done = desk.publish("init", "model")
    assert done.code == 2
    assert "Give --namespace NAME" in done.error
    desk.extra = {"HF_HUB_OFFLINE": "1"}
    assert desk.publish("init", "model", "--namespace", "bob").code == 0
    assert load(desk.folder / "model.yaml", VOCABULARY).recipe.destination.namespace == "bob"


def test_prompts_of_somebody_are_not_taken_over_unless_they_are_named_for_the_recipe(
    source: Path, embedder: Path, tmp_path: Path
) -> None:
    def prompts(place: Path, name: str, task: str = "") -> tuple[str, bool]:
        started = start(find(Folder(place), task, ""), tmp_path / f"{name}.yaml", "alice", ())
        assert load(tmp_path / f"{name}.yaml", VOCABULARY).recipe.validation.prompts == Path(started.prompts).name
        return Path(started.prompts).name, started.prompts in started.new

    assert prompts(source, "one") == ("prompts.jsonl", True)
    assert prompts(source, "two") == ("prompts.jsonl", False)  # the same ones
    assert prompts(embedder, "bert") == ("bert-prompts.jsonl", True)
    (tmp_path / "mine-prompts.jsonl").write_text('{"prompt": "mine"}\n')
    assert prompts(source, "mine") == ("prompts.jsonl", False)
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "theirs"}\n')
    assert prompts(source, "three") == ("three-prompts.jsonl", True)
    assert prompts(source, "mine-too") == ("mine-too-prompts.jsonl", True)
    (tmp_path / "edits-prompts.jsonl").write_text("{}\n")
    with pytest.raises(RecipeError, match="not fit for image-to-image"):
        start(find(Folder(source), "image-to-image", ""), tmp_path / "edits.yaml", "alice", ())
    assert not (tmp_path / "edits.yaml").exists()


def test_what_plan_and_quantize_would_refuse_is_refused_at_once(embedder: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as planned:
        TASKS["text-to-image"].layout(Folder(embedder))
    assert str(refusal(embedder, task="text-to-image")) == str(planned.value)
    model = shutil.copytree(embedder, tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "gptq"}}))
    assert "is quantized already, with gptq. Name the repository of the full-precision" in str(refusal(model))


def test_what_is_no_source_is_told(desk: Desk) -> None:
    (desk.folder / "README.md").write_text("# Mine")
    assert "This is a file" in desk.publish("init", "README.md").error
    absent = desk.publish("init", "acme/nope").error
    assert "Correct its name, or use another token" in absent


def test_somebody_at_a_terminal_is_asked(desk: Desk, source: Path) -> None:
    shutil.copytree(source, desk.folder / "model")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "pipeline.cli", "init", "model"]
    child = subprocess.Popen(
        command, cwd=desk.folder, env=desk.environment, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs
    )
    os.write(ours, b"24gb-gpu\nacme\n")
    assert child.wait(120) == 0
    recipe = load(desk.folder / "model.yaml", VOCABULARY).recipe
    assert recipe.destination.namespace == "acme"
    assert "# For 24gb-gpu: about" in (desk.folder / "model.yaml").read_text()
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("name", ["null", "true"])
def test_a_name_that_yaml_takes_for_something_else_is_quoted(source: Path, tmp_path: Path, name: str) -> None:
    start(find(Folder(source), "", ""), tmp_path / "tiny.yaml", name, ())
    assert load(tmp_path / "tiny.yaml", VOCABULARY).recipe.destination.namespace == name


@pytest.mark.parametrize("layers", [5000, 0])
def test_a_config_that_no_model_has_gives_no_size(source: Path, tmp_path: Path, layers: int) -> None:
    model = renamed(source, tmp_path / "tiny", "FluxPipeline")
    config = json.loads((model / "vae" / "config.json").read_text())
    (model / "vae" / "config.json").write_text(json.dumps({**config, "block_out_channels": [64] * layers}))
    start(find(Folder(model), "", ""), tmp_path / "tiny.yaml", "alice", ())
    assert load(tmp_path / "tiny.yaml", VOCABULARY).recipe.validation.call.keys().isdisjoint(SQUARE)


@pytest.mark.parametrize("out", ["file/tiny.yaml", "file/deep/tiny.yaml", f"{'n' * 250}.yaml", "/proc/none/tiny.yaml"])
def test_a_place_where_nothing_can_be_written_is_told(source: Path, tmp_path: Path, out: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotHereError, match="--out"):
        start(find(Folder(source), "", ""), tmp_path / out, "alice", ())


def test_a_link_to_nothing_is_there_already(source: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").symlink_to("nowhere")
    with pytest.raises(RecipeError, match="there already"):
        start(find(Folder(source), "", ""), tmp_path / "tiny.yaml", "alice", ())
    assert (tmp_path / "tiny.yaml").is_symlink()
