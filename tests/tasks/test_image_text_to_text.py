"""A vision-language model is asked about pictures, and judged as a language model is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.recipe.prompts import Message, Question
from pipeline.tasks import TASKS
from pipeline.tasks.answers import Request
from pipeline.tasks.protocol import LoadedModel
from pipeline.tasks.texts.text import EXPECTED
from tests.desk import Desk
from tests.tasks.language_models import llava

TASK = TASKS["image-text-to-text"]
ASKED = ("What is it?", "Who is it?", "Is it a fox?", "Where is it?", "Why?", "Name it.", "Is it a man?", "Tell me")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return llava(tmp_path_factory.mktemp("llavas") / "tiny-llava")


@pytest.fixture(scope="module")
def loaded(model: Path) -> LoadedModel:
    return TASK.load(model, "float32", TASK.loader)


def picture(path: Path, seed: int) -> str:
    from PIL import Image

    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 30, 3), np.uint8)).save(path)
    return path.name


def expected(loaded: LoadedModel, folder: Path, question: Question) -> Any:
    call = {"max_new_tokens": 3}
    request = Request(task="image-text-to-text", questions=(question,), seeds=(0,), folder=folder, call=call)
    return TASK.ask(loaded, request, 0, 0).besides[EXPECTED].astype(np.float32)


def test_what_is_expected_depends_on_the_picture(loaded: LoadedModel, tmp_path: Path) -> None:
    names = [picture(tmp_path / f"{seed}.png", seed) for seed in (1, 2)]
    one, other = (expected(loaded, tmp_path, Question(prompt="What?", files={"image": name})) for name in names)
    assert len(one) == len(other) == len("What?\na:") + 1  # its own tokens, and the first of the answer
    assert abs(one - other).max() > 0.01


def test_a_text_is_measured_in_place_of_the_question(loaded: LoadedModel, tmp_path: Path) -> None:
    question = Question(prompt="What?", files={"image": picture(tmp_path / "1.png", 1)}, text="A fox.")
    assert len(expected(loaded, tmp_path, question)) == len("A fox.") + 1


def test_a_prompt_is_a_conversation_of_one_message(loaded: LoadedModel, tmp_path: Path) -> None:
    files = {"image": picture(tmp_path / "1.png", 1)}
    plain = Question(prompt="What?", files=files)
    said = Question(prompt="What?", files=files, messages=(Message(role="user", content="What?"),))
    assert np.array_equal(*(expected(loaded, tmp_path, question) for question in (plain, said)))


def test_the_picture_is_read_at_once_and_what_is_said_of_it_with_a_cache(loaded: LoadedModel, tmp_path: Path) -> None:
    asked: list[int] = []
    hook = loaded.model.model.register_forward_pre_hook(
        lambda _module, _given, named: asked.append(named["input_ids"].shape[1]), with_kwargs=True
    )
    message = Message(role="user", content="What?")
    files = {"image": picture(tmp_path / "1.png", 1)}
    told = Question(prompt="What?", files=files, messages=(Message(role="system", content="See"), message))
    one = expected(loaded, tmp_path, told)
    hook.remove()
    assert asked[0] > len("s:See\nu:")
    assert asked[1:3] == [1, 1]
    loaded.model.model.generation_config.use_cache = False
    assert np.allclose(one, expected(loaded, tmp_path, told), atol=0.02)
    loaded.model.model.generation_config.use_cache = True


@pytest.mark.nightly
def test_a_vision_language_model_is_published(desk: Desk, model: Path) -> None:
    lines = [{"prompt": text, "image": picture(desk.folder / f"{at}.png", at)} for at, text in enumerate(ASKED)]
    target = {"int8": {"model": {"backend": "torchao", "scheme": "int8-weight-only", "dtype": "float32"}}}
    require = {"kl_divergence": {"max": 0.05}}
    path = desk.recipe_of_model(model, "image-text-to-text", target, call={"max_new_tokens": 6}, require=require)
    (desk.folder / "words.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    written = json.loads(path.read_text())
    written["card"] = {"template": "image-text-to-text"}
    path.write_text(json.dumps(written))
    done = desk.publish("run", path)
    assert done.code == 0, done.err
    card = Path(desk.shelf.api.hf_hub_download("alice/tiny-bert-int8", "README.md")).read_text()
    assert "pipeline_tag: image-text-to-text" in card
    assert "AutoModelForImageTextToText" in card
    assert "This very file" in card
