"""A language model continues in a page as it does in Python, by the chat template that it was published with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers

from pipeline.backends.onnx.graphs import export
from pipeline.backends.onnx.runtime import opened
from pipeline.card.render import render
from pipeline.events import silent
from pipeline.recipe.prompts import Message, Question
from pipeline.source.chat_template import TEMPLATE, write
from pipeline.tasks import TASKS
from pipeline.tasks.answers import Request
from pipeline.tasks.texts.text import read
from pipeline.validate.browser.asking import ask_in_browser, run_page, settings_of
from pipeline.validate.browser.scripts import MODULE
from tests.tasks.language_models import tokenizer

CALL = {"max_new_tokens": 12, "repetition_penalty": 1.4}
MESSAGES = (Message(role="system", content="be brief"), Message(role="user", content="who sees the moon?"))
ASKED = Request(
    task="text-generation",
    questions=(Question(prompt="who sees the moon?", messages=MESSAGES), Question(prompt="an owl sees")),
    seeds=(0,),
    call=CALL,
    dtype="float32",
)


@dataclass(frozen=True)
class Chat:
    """A language model, and the folder with its graph."""

    model: Any
    folder: Path


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Chat:
    folder = tmp_path_factory.mktemp("chat") / "qwen"
    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 16}
    config = transformers.Qwen3Config(
        **sizes, num_attention_heads=4, num_key_value_heads=2, initializer_range=0.4, bos_token_id=0, eos_token_id=1
    )
    model = transformers.Qwen3ForCausalLM(config).eval()
    model.generation_config.repetition_penalty = 1.1  # which the call overrules
    model.save_pretrained(folder)
    export(model, folder)
    (folder / "model.safetensors").unlink()
    tokenizer().save_pretrained(folder)
    write(folder, folder)
    return Chat(model, folder)


def continued(model: Any) -> list[str]:
    """Return what a model says, as transformers has it."""
    reads = tokenizer()
    messages = [message.model_dump() for message in MESSAGES]
    begun = [
        reads.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"),
        reads("an owl sees", return_tensors="pt"),
    ]
    made = [model.generate(**asked, do_sample=False, **CALL)[0, asked["input_ids"].shape[1] :] for asked in begun]
    return [str(reads.decode(answer, skip_special_tokens=True)) for answer in made]


@pytest.mark.nightly
def test_a_page_continues_greedily_as_the_model_does_in_python(qwen: Chat, scripts: Path, tmp_path: Path) -> None:
    wanted = continued(qwen.model)
    assert continued(opened(transformers.AutoModelForCausalLM, qwen.folder)) == wanted
    assert (qwen.folder / TEMPLATE).is_file()
    tried = ask_in_browser(qwen.folder, "alice/qwen", ASKED, scripts, tmp_path, silent)
    assert tried.failure == ""
    assert [read(tmp_path / answer.file).text for answer in tried.given] == wanted


@pytest.mark.nightly
def test_the_page_of_a_card_shows_an_answer_to_a_conversation_and_to_a_text(
    qwen: Chat, scripts: Path, tmp_path: Path
) -> None:
    page = TASKS["text-generation"].page
    assert page is not None
    for question in ASKED.questions:
        first, options = page.question(question, CALL, "")
        given = {"module": MODULE, "settings": settings_of(qwen.folder), "first": first, "options": options}
        plan = SimpleNamespace(repository="alice/qwen")
        text = render(page.usage, {**given, "plan": plan, "question": question})
        assert run_page(text, qwen.folder, "alice/qwen", ASKED, scripts, tmp_path).failure == ""
