"""Several artifacts of one component: a plan that has them, its editions, and how each of them looks in a release."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.backends import BACKENDS, FOLDERS, SCHEMES
from pipeline.card.compose import compose, snippet_of
from pipeline.card.context import Ingredients, foreign_configs, usages
from pipeline.card.metadata import SourceCard
from pipeline.errors import VerificationError
from pipeline.files import ListedFile
from pipeline.fleet.needs import without
from pipeline.hub.client import Hub
from pipeline.hub.source import Repository
from pipeline.plan.model import TargetPlan
from pipeline.recipe import InvalidRecipe, Recipe, Vocabulary, read_recipe
from pipeline.release.documents import Documents
from pipeline.release.editions import lay_out_edition
from pipeline.tasks import TASKS
from pipeline.validate import Report

RECORDED = Path(__file__).parent / "recorded" / "bnb-nf4"
WORDS = Vocabulary(SCHEMES, frozenset(TASKS), TASKS, FOLDERS)
FILES = {"q8_0": "digits-transformer-Q8_0.gguf", "q5_0": "digits-transformer-Q5_0.gguf"}


def gguf(part: dict[str, Any], scheme: str) -> dict[str, Any]:
    """A file of GGUF that was made of a component."""
    quantization = {"backend": "gguf", "scheme": scheme, "options": {"layers": {}, "names": "diffusers"}}
    return {**part, "quantization": {**part["quantization"], **quantization}, "file": FILES[scheme]}


def planned(first: str, *further: str) -> TargetPlan:
    """A plan whose transformer has some artifacts: ``nf4`` is a folder, the others are files."""
    content = json.loads((RECORDED / "plan.json").read_bytes())
    part = content["components"]["transformer"]
    content["components"]["transformer"] = part if first == "nf4" else gguf(part, first)
    if further:
        content["further"] = {"transformer": [gguf(part, scheme) for scheme in further]}
    backends = {"bitsandbytes": {"nf4"}, "gguf": {"q8_0", "q5_0"}}
    used = {name for name, schemes in backends.items() if schemes & {first, *further}} | {"bitsandbytes"}
    content["versions"] |= {name: "1.0" for name in backends if name in used}
    return TargetPlan.model_validate_json(json.dumps(content))


def recipe(transformer: Any) -> Recipe:
    written = {
        "source": {"path": "./source"},
        "task": "text-to-image",
        "destination": {"namespace": "acme"},
        "targets": {"one": {"transformer": transformer}},
        "validation": {"prompts": "prompts.jsonl", "seeds": [0], "require": {"psnr": {"min": 1}}},
        "card": {"template": "text-to-image"},
    }
    return read_recipe(json.dumps(written).encode(), "recipe.yaml", WORDS)


def test_a_list_of_one_is_that_one() -> None:
    one = {"backend": "gguf", "scheme": "q8_0"}
    assert recipe([one]).named("one") == recipe(one).named("one")
    assert not recipe([one]).further("one")
    both = recipe([one, {**one, "scheme": "q5_0"}])
    assert [each.scheme for each in both.further("one")["transformer"]] == ["q5_0"]
    assert (
        Recipe.model_validate_json(both.model_dump_json(), context=Vocabulary(SCHEMES, frozenset(TASKS), TASKS)) == both
    )


@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_a_folder_behind_the_first_artifact_is_told_without_a_plan(backend: str) -> None:
    first, behind = {"backend": "gguf", "scheme": "q8_0"}, {"backend": backend, "scheme": [*SCHEMES[backend]][1]}
    said: list[str] = []
    try:
        recipe([first, behind])
    except InvalidRecipe as error:
        said = [problem.text for problem in error.problems if "makes a folder" in problem.text]
    alone = backend in {"gguf", "comfy"}
    assert (
        said == []
        if alone
        else [f"{backend} makes a folder, and of a list only the first can be one; behind it are single files alone"]
    )


def test_an_edition_is_the_target_that_has_its_artifact_alone() -> None:
    first, second = planned("nf4", "q8_0").editions
    for edition, alone in ((first, planned("nf4")), (second, planned("q8_0"))):
        assert edition.build_key == alone.build_key
        assert edition.verdict_key == alone.verdict_key
        assert edition.entry == alone.target
    assert first == planned("nf4")
    assert planned("nf4", "q8_0").build_key == first.build_key
    assert second.target != first.target


def test_what_lies_beside_is_part_of_what_was_asked() -> None:
    digests = {planned(*schemes).digest for schemes in (("q8_0",), ("q8_0", "q5_0"), ("q5_0", "q8_0"))}
    assert len(digests) == 3
    assert not planned("q8_0", "q5_0").asks_the_same(planned("q8_0"))
    assert not planned("q8_0").asks_the_same(planned("q8_0", "q5_0"))


def test_an_edition_looks_as_if_there_were_no_other(tmp_path: Path) -> None:
    release, plan = tmp_path / "release", planned("nf4", "q8_0", "q5_0")
    inside = release / "transformer"
    inside.mkdir(parents=True)
    for name in (
        *FILES.values(),
        "diffusion_pytorch_model.safetensors",
        "diffusion_pytorch_model.safetensors.index.json",
    ):
        (inside / name).write_text(name)
    (inside / "config.json").write_text(json.dumps({"_class_name": "Flux", "quantization_config": {}}))
    (release / "model_index.json").write_text("{}")
    folders = [lay_out_edition(release, plan, number, tmp_path / str(number)) for number in range(3)]
    found = [{path.name for path in (folder / "transformer").iterdir()} - {"config.json"} for folder in folders]
    assert found[0] == {"diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.safetensors.index.json"}
    assert found[1:] == [{FILES["q8_0"]}, {FILES["q5_0"]}]
    configs = [json.loads((folder / "transformer" / "config.json").read_bytes()) for folder in folders]
    assert ["quantization_config" in config for config in configs] == [True, False, False]
    assert "quantization_config" in (inside / "config.json").read_text()


def test_memory_is_told_of_what_is_loaded_and_not_of_all_that_lies_there() -> None:
    plan = planned("q8_0", "q5_0")
    files = {f"transformer/{file}": ListedFile(size=1) for file in FILES.values()}
    place = Repository(Hub("http://127.0.0.1:1"), "alice/tiny", "0" * 40, files)
    assert [*without(place, plan.files_beside).files] == [f"transformer/{FILES['q8_0']}"]


@pytest.mark.parametrize(("verdicts", "what"), [((), "judges 0 further artifacts"), (("FAIL",), "the verdict FAIL")])
def test_a_release_without_a_verdict_of_each_artifact_is_refused(
    verdicts: tuple[str, ...], what: str, tmp_path: Path
) -> None:
    (tmp_path / "publish").mkdir()
    judged = json.loads((RECORDED / "report.json").read_bytes())
    report = {**judged, "weights": {}, "further": [{**judged, "weights": {}, "verdict": each} for each in verdicts]}
    (tmp_path / "publish" / "plan.json").write_text(planned("nf4", "q8_0").model_dump_json())
    (tmp_path / "publish" / "report.json").write_text(json.dumps(report))
    with pytest.raises(VerificationError, match=what):
        Documents(tmp_path, "alice/tiny", WORDS).report_fits()


def test_a_card_has_a_row_and_a_snippet_for_each_file() -> None:
    report = Report.model_validate_json((RECORDED / "report.json").read_bytes())
    plan = planned("nf4", "q8_0", "q5_0")
    card = compose(Ingredients(plan, report, SourceCard({}), executed=True, further=[(report, True), (report, False)]))
    for scheme, path in zip(("q8_0", "q5_0"), [*usages(plan)][1:], strict=True):
        (row,) = [line for line in card.text.splitlines() if line.startswith("|") and f"`{scheme}`" in line]
        assert f"transformer/{FILES[scheme]}" in row
        assert path in row
        assert row.endswith(", run |") == (scheme == "q8_0")
        assert FILES[scheme] in card.further[path]
    assert "from_single_file" not in card.usage
    assert "gguf" in card.text.split("---")[1]
    with pytest.raises(ValueError, match="shorter"):
        compose(Ingredients(plan, report, SourceCard({}), executed=True, further=[(report, True)]))


@pytest.mark.parametrize(
    ("first", "foreign"),
    [({"backend": "compressed-tensors", "scheme": "fp8-dynamic", "options": {}}, True), ({}, False)],
)
def test_a_snippet_passes_no_config_that_tells_how_another_artifact_is_quantized(
    first: dict[str, Any], foreign: bool
) -> None:
    plan = planned("q8_0", "q5_0")
    kinds = {"library": "transformers", "class_name": "LlamaForCausalLM"}
    (beside,) = plan.further["transformer"]
    made = plan.components["transformer"].model_copy(update=kinds)
    quantization = made.quantization.model_copy(update=first)
    made = made.model_copy(update={"quantization": quantization, "file": "" if first else made.file})
    further = beside.model_copy(update=kinds)
    change = {"components": {"model": made}, "further": {"model": (further,)}}
    both = plan.model_copy(update={**change, "task": "text-generation"})
    encoder = both.model_copy(
        update={"task": plan.task, "components": {"text_encoder": made}, "further": {"text_encoder": (further,)}}
    )
    for each in (both, encoder):
        folder, file = each.editions
        text = snippet_of(file, foreign=foreign_configs(each, file))
        compile(text, "snippet", "exec")
        assert ("del config.quantization_config" in text) == foreign
        assert ("config=config" in text) != ("config=AutoConfig.from_pretrained(" in text)
        assert not foreign_configs(each, folder)
