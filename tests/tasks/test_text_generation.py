"""A chat model is published like anything else: asked prompts and messages, judged by what it expects of each token."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.recipe.prompts import Prompt, Question, scan
from pipeline.tasks import TASKS
from pipeline.tasks.answers import Answers, Request
from pipeline.tasks.metrics import MetricInput, Pair
from pipeline.tasks.protocol import Given
from pipeline.tasks.text_generation import cycle_of, fault
from pipeline.tasks.texts.distribution import kept
from pipeline.tasks.texts.language_model import deadline, rendered
from pipeline.tasks.texts.text import EXPECTED, SAID, Text, read, save
from pipeline.validate.config_diff import differences
from pipeline.validate.consumer import answer
from pipeline.validate.findings import Sample
from pipeline.worker.child import WorkerError
from pipeline.worker.session import ERRORS
from tests.desk import Desk
from tests.tasks.language_models import LETTERS, TEMPLATE, llama, tokenizer

TASK = TASKS["text-generation"]
RECIPE = Path(__file__).parents[2] / "recipes" / "smollm2"
SMOLLM2 = "alice/SmolLM2-135M-Instruct-torchao-int8"
QUESTIONS = [
    *({"messages": [{"role": "user", "content": f"Say {word}."}]} for word in ("one", "two", "ten", "six")),
    {"messages": [{"role": "user", "content": "What?"}], "text": "Nothing at all."},
    *({"prompt": text} for text in ("A fox ran", "The sea is", "No, no, no", "Who")),
]


def log_softmax(logits: Any) -> Any:
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def pairs_in(folder: Path, sizes: tuple[int, ...], vocabulary: int = 300, noise: float = 0.1) -> tuple[Any, ...]:
    """Return questions of some sizes with what two models expect, and the float64 behind it."""
    rng, found, exact = np.random.default_rng(0), [], []
    for index, size in enumerate(sizes):
        own = rng.normal(size=(size, vocabulary)) * 3
        sides = [own, own + noise * rng.normal(size=own.shape)]
        tokens = rng.integers(0, vocabulary, size - 1)
        exact.append(([log_softmax(side) for side in sides], tokens))
        besides: dict[str, Any] = {EXPECTED: [], SAID: []}
        for name, side in zip(("own", "other"), sides, strict=True):
            expected, said = (folder / f"{index}-{name}.{kind}.npy" for kind in (EXPECTED, SAID))
            np.save(expected, half(side))
            np.save(said, log_softmax(side)[np.arange(size - 1), tokens].astype(np.float32))
            besides[EXPECTED].append(expected)
            besides[SAID].append(said)
        pair = Pair(index, f"text {index}", None, 0, Text("a"), Text("a"), {k: tuple(v) for k, v in besides.items()})
        found.append(pair)
    return MetricInput(tuple(found)), exact


def half(logits: Any) -> Any:
    import torch

    return kept(torch.tensor(logits))


def test_a_divergence_is_the_formula_over_all_tokens_of_all_questions(tmp_path: Path) -> None:
    given, exact = pairs_in(tmp_path, (40, 7, 19))
    every = np.concatenate([(np.exp(own) * (own - other)).sum(-1) for (own, other), _ in exact])
    found = TASK.metrics["kl_divergence"].measure(given)
    assert found.value == pytest.approx(every.mean(), rel=2e-3)
    assert found.error == pytest.approx(every.std() / np.sqrt(len(every) - 1), rel=2e-3)  # as llama.cpp prints it
    assert TASK.metrics["kl_divergence_median"].measure(given).value == pytest.approx(np.median(every), rel=5e-3)
    assert TASK.metrics["kl_divergence_99_9"].measure(given).value == pytest.approx(np.quantile(every, 0.999), rel=5e-3)
    same = np.concatenate([own.argmax(-1) == other.argmax(-1) for (own, other), _ in exact])
    assert TASK.metrics["same_top_token"].measure(given).value == pytest.approx(same.mean())


def test_a_perplexity_is_that_of_all_tokens_and_its_ratio_that_of_the_two(tmp_path: Path) -> None:
    given, exact = pairs_in(tmp_path, (40, 7, 19))
    said = [[side[np.arange(len(tokens)), tokens] for side in sides] for sides, tokens in exact]
    own, other = (np.concatenate([both[at] for both in said]) for at in (0, 1))
    found = TASK.metrics["perplexity"].measure(given)
    assert (found.value, found.reference) == pytest.approx((np.exp(-other.mean()), np.exp(-own.mean())), rel=1e-5)
    ratio = TASK.metrics["perplexity_ratio"].measure(given)
    apart = own - other
    assert ratio.value == pytest.approx(np.exp(apart.mean()), rel=1e-5)
    assert ratio.error == pytest.approx(ratio.value * apart.std() / np.sqrt(len(apart) - 1), rel=1e-5)


@pytest.mark.parametrize("metric", ["kl_divergence", "perplexity", "perplexity_ratio", "same_top_token"])
def test_the_interval_is_around_the_value_over_all_tokens(metric: str, tmp_path: Path) -> None:
    given, _ = pairs_in(tmp_path, (60, 5, 9, 31, 12, 22, 8, 14), noise=0.5)
    measured = TASK.metrics[metric].measure(given)
    found = Sample(TASK.metrics[metric], measured, given.pairs).number("value")
    assert found is not None
    assert found.number == pytest.approx(measured.value)
    assert found.low < found.number < found.high


def test_sixteen_bits_hold_a_divergence_far_smaller_than_any_that_is_published(tmp_path: Path) -> None:
    given, exact = pairs_in(tmp_path, (64, 64), vocabulary=4096, noise=0.01)
    true = np.concatenate([(np.exp(own) * (own - other)).sum(-1) for (own, other), _ in exact]).mean()
    assert true < 1e-4  # rounding to bfloat16 alone makes ten times that
    assert TASK.metrics["kl_divergence"].measure(given).value == pytest.approx(true, rel=0.1)


def test_the_same_model_diverges_from_itself_nowhere(tmp_path: Path) -> None:
    given, _ = pairs_in(tmp_path, (9, 12), noise=0.0)
    assert TASK.metrics["kl_divergence"].measure(given).value == 0
    assert TASK.metrics["perplexity_ratio"].measure(given).value == 1
    assert TASK.metrics["same_top_token"].measure(given).value == 1


@pytest.mark.parametrize("metric", ["kl_divergence", "perplexity", "perplexity_ratio", "same_top_token"])
def test_where_another_chat_template_makes_other_tokens_what_both_have_is_measured(metric: str, tmp_path: Path) -> None:
    given, _ = pairs_in(tmp_path, (14, 9))
    for kind in (EXPECTED, SAID):
        path = given.pairs[0].besides[kind][1]
        np.save(path, np.load(path)[:10])
    assert np.isfinite(TASK.metrics[metric].measure(given).value)


def test_a_token_that_one_model_does_not_have_is_ruled_out(tmp_path: Path) -> None:
    given, exact = pairs_in(tmp_path, (12,), noise=0.0)
    (own, _), _ = exact[0]
    np.save(given.pairs[0].besides[EXPECTED][1], half(own)[:, :299])
    lost = np.exp(own[:, 299]).mean()
    assert TASK.metrics["kl_divergence"].measure(given).value > 60_000 * lost
    assert TASK.metrics["same_top_token"].measure(given).value == (own.argmax(-1) < 299).mean()


def test_what_is_expected_of_other_tokens_is_a_fault() -> None:
    own = Text("a", (1,), ("a",), (-0.1,), (12, 64))
    assert fault(own, own) == ""
    fewer = Text("a", (1,), ("a",), (-0.1,), (12, 61))
    assert fault(fewer, own) == "chosen of 61 tokens where the source's vocabulary has 64"
    assert fault(own, fewer) == "chosen of 64 tokens where the source's vocabulary has 61"
    shorter = Text("a", (1,), ("a",), (-0.1,), (9, 64))
    assert fault(shorter, own) == "to a question of 9 tokens where the source reads 12"


def text(words: str, tokens: Any) -> Text:
    return Text(words, tuple(tokens), tuple("ab"[token % 2] for token in tokens), (-0.1,) * len(tokens))


def test_answers_that_are_none_are_told() -> None:
    fine, round_ = text("all is well", range(40)), text("a b a b", [7, *range(10), *[3, 4] * 30])
    assert cycle_of(fine) == 0
    assert cycle_of(round_) == 2
    assert fault(fine, fine) == ""
    assert fault(round_, fine) == "endless: it goes round in 'ba'"
    assert fault(round_, round_) == ""  # the source does it as well
    assert fault(text(" ", [1]), fine) == "empty"
    assert fault(text(" ", [1]), text("", [1])) == ""


def test_two_questions_may_get_the_same_answer_but_not_with_the_same_certainty() -> None:
    own, other = Text("Yes.", (5,), ("Yes.",), (-0.25,)), Text("Yes.", (5,), ("Yes.",), (-0.5,))
    assert TASK.medium.content(own) != TASK.medium.content(other)
    assert abs(TASK.medium.sketch(own) - TASK.medium.sketch(other)).mean() > TASK.medium.alike


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ({"messages": "Hi"}, "'messages' must be a list of "),
        ({"messages": [{"role": "user", "content": "Hi"}], "prompt": "Hi"}, "two ways to ask"),
        ({"messages": [{"role": "robot", "content": "Hi"}]}, "one of system, user and assistant"),
        ({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]}, "the last of "),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "half a character"),
        ({"prompt": "Hi", "text": ""}, "'text' must be a text that is not empty"),
        ({"prompt": "Hi", "text": "\udfff"}, "half a character"),
        ({"text": "Hi"}, "the key 'prompt' is missing"),
    ],
)
def test_a_question_that_is_none_is_told_with_its_line(line: Any, told: str, tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps(line) + "\n")
    (fault,) = scan(path, TASK.form)[1]
    assert fault.startswith("line 1: ")
    assert told in fault


def test_other_tasks_take_no_messages(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps({"messages": [{"role": "user", "content": "Hi"}]}) + "\n")
    assert scan(path, TASKS["text-to-image"].form)[1] == [
        "line 1: unknown key 'messages'; the keys are prompt and label"
    ]


def test_a_conversation_is_called_by_what_the_user_said_last(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps({"messages": [{"role": "user", "content": "Hi"}], "text": "Ho"}) + "\n")
    (line,) = scan(path, TASK.form)[0]
    assert (line.prompt, line.text) == ("Hi", "Ho")
    asked = Prompt(prompt="Hi", messages=line.messages, text="Ho").question
    assert asked.model_dump(mode="json") == {"prompt": "Hi", "messages": list(line.messages), "text": "Ho"}


def test_a_page_is_asked_as_python_is() -> None:
    page, call = TASK.page, {"max_new_tokens": 6, "repetition_penalty": 1.3, "enable_thinking": False}
    assert page is not None
    said = ({"role": "user", "content": "Hi"},)
    greedy = {"max_new_tokens": 6, "do_sample": False, "repetition_penalty": 1.3}
    assert page.question(Question(prompt="Hi", messages=said), call, "") == (
        list(said),
        {**greedy, "tokenizer_encode_kwargs": {"enable_thinking": False}},
    )
    alone = {"return_full_text": False, "add_special_tokens": True}
    assert page.question(Question(prompt="A fox"), call, "") == ("A fox", {**greedy, **alone})
    assert page.answer([{"generated_text": " ran"}]).text == " ran"
    assert page.answer([{"generated_text": [*said, {"role": "assistant", "content": "Ho"}]}]).text == "Ho"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return llama(tmp_path_factory.mktemp("llamas") / "tiny-llama")


TARGETS = {"int8": {"model": {"backend": "torchao", "scheme": "int8-weight-only", "dtype": "float32"}}}


def recipe(desk: Desk, source: Path, questions: Any = QUESTIONS, targets: Any = TARGETS, **validation: Any) -> Path:
    asked = {"call": {"max_new_tokens": 6}, "require": {"kl_divergence": {"max": 0.05}}, **validation}
    path = desk.recipe_of_model(source, "text-generation", targets, **asked)
    (desk.folder / "words.jsonl").write_text("".join(json.dumps(line) + "\n" for line in questions))
    written = json.loads(path.read_text())
    written["card"] = {"template": "text-generation"}
    written["destination"]["name"] = "tiny-llama-{target}"
    path.write_text(json.dumps(written))
    return path


def test_a_chat_model_is_published_with_both_answers_and_what_was_expected(desk: Desk, model: Path) -> None:
    written = recipe(desk, model)
    done = desk.publish("run", written)
    assert done.code == 0, done.err
    release = Path(desk.shelf.api.snapshot_download("alice/tiny-llama-int8", local_dir=desk.folder / "release"))
    report = json.loads((release / "publish" / "report.json").read_text())
    assert {"kl_divergence", "kl_divergence_99_9", "perplexity_ratio", "same_top_token", "answers_equal"} <= set(
        report["metrics"]
    )
    assert 0 < report["metrics"]["kl_divergence"]["value"] < 0.05
    assert report["metrics"]["kl_divergence"]["error"] > 0
    assert all(pair["texts"] for pair in report["pairs"])
    card = (release / "README.md").read_text()
    assert "pipeline_tag: text-generation" in card
    assert "AutoModelForCausalLM" in card
    assert "apply_chat_template" in card
    assert "This very file" in card
    assert "With the standard error over tokens, as llama.cpp prints it: kl\\_divergence" in card
    pages = desk.publish("report", written, "--out", desk.folder / "pages")
    assert pages.code == 0, pages.err
    (page,) = (path for path in (desk.folder / "pages").glob("*.html") if "int8" in path.name)
    assert '<p class="said">' in page.read_text()


@pytest.mark.nightly
def test_a_chat_model_is_published_as_a_graph_which_the_card_runs_without_torch(
    desk: Desk, model: Path, tmp_path: Path
) -> None:
    source = copied(model, tmp_path)
    settings = json.loads((source / "generation_config.json").read_text())
    (source / "generation_config.json").write_text(json.dumps(settings | {"repetition_penalty": 1.7}))
    graph = {"q8": {"model": {"backend": "onnx", "scheme": "q8", "dtype": "float32"}}}
    done = desk.publish("run", recipe(desk, source, targets=graph))
    assert done.code == 0, done.err
    release = Path(desk.shelf.api.snapshot_download("alice/tiny-llama-q8", local_dir=desk.folder / "release"))
    assert (release / "onnx" / "model_quantized.onnx").is_file()
    card = (release / "README.md").read_text()
    assert "import torch" not in card
    assert "This very file" in card
    assert json.loads((release / "tokenizer_config.json").read_text())["chat_template"] == TEMPLATE
    first, *_ = json.loads((release / "publish" / "report.json").read_text())["pairs"]
    snippet = [sys.executable, release / "publish" / "usage.py"]
    said = subprocess.run(snippet, env=desk.environment, capture_output=True, text=True, check=True).stdout
    assert said == f"{first['texts'][1]}\n"


def copied(model: Path, folder: Path) -> Path:
    return shutil.copytree(model, folder / "model")


def refused(model: Path, questions: Any = QUESTIONS) -> str:
    """Ask what a run asks in a process of its own, and return what it is refused with."""
    every = tuple(Question.model_validate({"prompt": "Hi", **line}) for line in questions)
    request = Request(task="text-generation", questions=every, seeds=(0,))
    with pytest.raises(WorkerError) as told:
        TASK.ask(TASK.load(model, "float32", TASK.loader), request, 0, 0)
    assert told.value.kind in ERRORS
    return told.value.what


def test_a_tokenizer_of_more_tokens_than_there_are_embeddings_is_refused(model: Path, tmp_path: Path) -> None:
    source = copied(model, tmp_path)
    tokenizer("".join(map(chr, range(0x4E00, 0x4E00 + 100)))).save_pretrained(source)
    assert refused(source) == "The tokenizer has a token 102, and the model embeds 64, numbered from 0."


def test_a_tokenizer_of_another_model_is_refused(model: Path, tmp_path: Path) -> None:
    source = copied(model, tmp_path)
    tokenizer("abc ").save_pretrained(source)
    assert refused(source) == "The tokenizer has 7 tokens, and the model embeds 64: it is another model's."


def test_a_chat_template_that_does_not_render_is_told_in_a_paragraph(desk: Desk, model: Path, tmp_path: Path) -> None:
    source = copied(model, tmp_path)
    tokenizer(template="{{ raise_exception('Roles must alternate') }}").save_pretrained(source)
    done = desk.publish("run", recipe(desk, source), "--stop-after", "validate")
    assert done.code == 4, done.err
    told = "The chat template does not render this conversation: Roles must alternate."
    assert told in " ".join(done.err.split())


ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


def test_a_chat_template_that_does_not_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.tasks.texts.language_model.SECONDS", 0.5)
    with pytest.raises(WorkerError) as told:
        rendered(tokenizer(template=ENDLESS), [{"role": "user", "content": "Hi"}], {})
    assert told.value.what == (
        "The chat template does not render this conversation: it does not end within 0.5 seconds."
    )


def test_a_chat_template_that_makes_more_than_can_be_read_is_told() -> None:
    with pytest.raises(WorkerError) as told:
        rendered(tokenizer(template="{{ 'word' * 300000 }}"), [{"role": "user", "content": "Hi"}], {})
    assert "it makes 1,200,000 characters, and 1,000,000 are the most that are read." in told.value.what


def test_a_deadline_is_over_with_what_it_is_of() -> None:
    with deadline(0.2):
        pass
    time.sleep(0.3)
    with pytest.raises(TimeoutError), deadline(0.1):
        time.sleep(5)


def test_messages_need_a_chat_template(model: Path, tmp_path: Path) -> None:
    source = copied(model, tmp_path)
    (source / "chat_template.jinja").unlink()
    assert refused(source) == "The model has no chat template, and a question has messages."


def test_a_question_must_have_room(model: Path) -> None:
    said = refused(model, [{"prompt": "word " * 30}])
    assert "with its answer" in said
    assert "the model has 128" in said


def test_what_is_no_number_is_told_of_the_answer(model: Path, tmp_path: Path) -> None:
    import torch

    loaded = TASK.load(model, "float32", TASK.loader)
    with torch.no_grad():
        loaded.model.model.model.norm.weight[3] = float("nan")
    request = Request(
        task="text-generation", questions=(Question(prompt="Who?"),), seeds=(0,), call={"max_new_tokens": 2}
    )
    given = TASK.ask(loaded, request, 0, 0)
    assert given.fault == "broken: at 5 tokens of the question what is expected is no number"
    assert np.isnan(given.values).all()


def expected(loaded: Any, question: Question) -> Any:
    return given_by(loaded, question).besides[EXPECTED].astype(np.float32)


def given_by(loaded: Any, question: Question) -> Given:
    request = Request(task="text-generation", questions=(question,), seeds=(0,), call={"max_new_tokens": 2})
    return TASK.ask(loaded, request, 0, 0)


FOX = Question(prompt="A fox ran to the sea and it was far")


def test_reading_with_a_cache_expects_what_reading_at_once_does(model: Path) -> None:
    loaded = TASK.load(model, "float32", TASK.loader)
    cached = expected(loaded, FOX)
    loaded.model.model.generation_config.use_cache = False
    assert len(cached) == len(FOX.prompt) + 1
    assert np.allclose(cached, expected(loaded, FOX), atol=0.02)


@pytest.mark.parametrize("side", ["keys", "values"])
def test_a_cache_that_is_spoilt_shows_in_what_is_expected(model: Path, side: str) -> None:
    loaded = TASK.load(model, "float32", TASK.loader)
    own = expected(loaded, FOX)

    def negated(_module: Any, _given: Any, answer: Any) -> None:
        for layer in answer.past_key_values.layers:
            getattr(layer, side).neg_()

    loaded.model.model.register_forward_hook(negated)
    apart = abs(expected(loaded, FOX) - own).max(-1)
    half = len(apart) // 2
    assert not apart[:half].any()
    assert (apart[half + 1 :] > 0.1).all()


def test_an_answer_tells_what_it_was_chosen_of(model: Path, tmp_path: Path) -> None:
    given = given_by(TASK.load(model, "float32", TASK.loader), FOX)
    save(given, tmp_path / "a.json")
    assert read(tmp_path / "a.json").expected == (len(FOX.prompt) + 1, 64)


def looked(model: Path, out: Path) -> Answers:
    out.mkdir(exist_ok=True)
    request = Request(task="text-generation", questions=(FOX,), seeds=(0,), call={"max_new_tokens": 2}, dtype="float32")
    return answer(model, request, out, lambda *_: None, look=True)


def merged(path: Path, **values: Any) -> None:
    held = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**held, **values}))


SPOILT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "more is said of how it generates": (
        lambda folder: merged(folder / "generation_config.json", do_sample=True, temperature=9.0),
        "generation_config is not the source's: do_sample is true instead of false; temperature is 9.0 instead of 1.0.",
    ),
    "how it generates is lost": (
        lambda folder: (folder / "generation_config.json").unlink(),
        "generation_config is not the source's: repetition_penalty is 1.0 instead of 1.1.",
    ),
    "other special tokens": (
        lambda folder: merged(folder / "special_tokens_map.json", eos_token="q"),
        """eos_token is "q" instead of "</s>".""",
    ),
    "another chat template": (
        lambda folder: (folder / "chat_template.jinja").write_text("Arr!"),
        """tokenizer is not the source's: chat_template is "Arr!" instead of""",
    ),
    "another vocabulary": (
        lambda folder: tokenizer(LETTERS[::-1]).save_pretrained(folder),
        "tokenizer is not the source's: vocabulary is \"61 tokens (",
    ),
    "a tokenizer's config is lost": (
        lambda folder: (folder / "tokenizer_config.json").unlink(),
        """bos_token is null instead of "<s>"; eos_token is null instead of "</s>";""",
    ),
    "another class for others": (
        lambda folder: merged(folder / "config.json", architectures=["LlamaModel"]),
        """model is not the source's: architectures is ["LlamaModel"] instead of ["LlamaForCausalLM"].""",
    ),
}


@pytest.fixture(scope="module")
def penal(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answers]:
    """A model that says how it generates, and what was loaded of it."""
    folder = shutil.copytree(model, tmp_path_factory.mktemp("penal") / "model")
    merged(folder / "generation_config.json", repetition_penalty=1.1)
    return folder, looked(folder, folder.with_name("out"))


@pytest.mark.parametrize("name", SPOILT)
def test_what_is_loaded_beside_the_weights_must_be_the_sources(
    penal: tuple[Path, Answers], name: str, tmp_path: Path
) -> None:
    source, own = penal
    spoil, told = SPOILT[name]
    spoil(folder := copied(source, tmp_path))
    found = differences(own, looked(folder, tmp_path / "out"))
    assert any(told in line for line in found), found


def test_it_does_not_matter_which_file_says_it(penal: tuple[Path, Answers], tmp_path: Path) -> None:
    source, own = penal
    folder = copied(source, tmp_path)
    for name in ("generation_config.json", "tokenizer_config.json"):
        merged(folder / name, transformers_version="5.0.0")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").unlink()
    merged(folder / "special_tokens_map.json", **{name: config.pop(name) for name in list(config) if "token" in name})
    found = differences(own, looked(folder, tmp_path / "out"))
    assert found == []


@pytest.mark.parametrize("prompt", ["a", "it", "it was", "it was far"])
def test_a_short_question_is_read_with_a_cache_as_well(model: Path, prompt: str) -> None:
    loaded, asked = TASK.load(model, "float32", TASK.loader), []
    loaded.model.model.register_forward_pre_hook(
        lambda _module, _given, named: asked.append(named["input_ids"].shape[1]), with_kwargs=True
    )
    assert len(expected(loaded, Question(prompt=prompt))) == len(prompt) + 1
    assert asked[1] == 1


@pytest.mark.parametrize(
    "call", [{"temperature": 0.7}, {"max_new_tokens": 0}, {"max_new_tokens": True}, {"repetition_penalty": -1}]
)
def test_what_is_not_greedy_is_no_word_of_a_call(desk: Desk, model: Path, call: Any) -> None:
    done = desk.publish("check", recipe(desk, model, call=call))
    assert done.code == 2
    assert "a text is made greedily" in done.out


def test_a_recipe_is_begun_for_a_chat_model(desk: Desk, model: Path) -> None:
    begun = desk.publish("init", model, "--for", "cpu", "--namespace", "alice", "--out", desk.folder / "chat.yaml")
    assert begun.code == 0, begun.err
    written = (desk.folder / "chat.yaml").read_text()
    assert "task: text-generation" in written
    assert "kl_divergence: {max: 0.05}" in written
    assert desk.publish("check", desk.folder / "chat.yaml").code == 0


def smollm2(parent: Path) -> Path:
    """Return a copy of the recipe's folder with the weights, in the namespace of whoever publishes here."""
    folder = shutil.copytree(RECIPE, parent / "smollm2", ignore=shutil.ignore_patterns("source"))
    subprocess.run([sys.executable, folder / "source.py"], check=True)
    text = (folder / "recipe.yaml").read_text()
    assert "namespace: smollm2" in text
    (folder / "recipe.yaml").write_text(text.replace("namespace: smollm2", "namespace: alice"))
    return folder


@pytest.mark.nightly
def test_smollm2_is_published_as_a_file_that_a_stranger_names(desk: Desk, tmp_path: Path) -> None:
    folder = smollm2(tmp_path)
    done = desk.publish("run", folder / "recipe.yaml", "--target", "gguf-q8_0")
    assert done.code == 0, done.err
    repository = "alice/SmolLM2-135M-Instruct-gguf-q8_0"
    report = json.loads(Path(desk.shelf.api.hf_hub_download(repository, "publish/report.json")).read_bytes())
    assert report["metrics"]["kl_divergence"]["value"] < 0.01
    release = Path(desk.shelf.api.snapshot_download(repository, local_dir=desk.folder / "release"))
    (file,) = release.glob("*-Q8_0.gguf")
    asked = [sys.executable, folder / "stranger.py", release, "What is the capital of France?", file.name]
    assert "Paris" in subprocess.run(asked, check=True, capture_output=True, text=True).stdout


@pytest.mark.nightly
def test_smollm2_out_of_its_package_keeps_what_eight_bits_keep(desk: Desk, tmp_path: Path) -> None:
    folder = smollm2(tmp_path)
    done = desk.publish("run", folder / "recipe.yaml", "--target", "torchao-int8")
    assert done.code == 0, done.err
    report = json.loads(Path(desk.shelf.api.hf_hub_download(SMOLLM2, "publish/report.json")).read_bytes())
    assert report["metrics"]["kl_divergence"]["value"] < 0.01
    assert report["metrics"]["perplexity_ratio"]["value"] == pytest.approx(1, abs=0.02)
    release = desk.shelf.api.snapshot_download(SMOLLM2, local_dir=desk.folder / "release")
    asked = [sys.executable, folder / "stranger.py", release, "What is the capital of France?"]
    assert "Paris" in subprocess.run(asked, check=True, capture_output=True, text=True).stdout


@pytest.mark.nightly
def test_a_chat_model_is_published_as_servers_read_it(desk: Desk, tmp_path: Path) -> None:
    schemes = {
        "fp8": {"model": {"backend": "compressed-tensors", "scheme": "fp8-dynamic"}},
        "w4": {"model": {"backend": "compressed-tensors", "scheme": "w4a16", "group_size": 32}},
    }
    limits = {"kl_divergence": {"max": 3.0}}
    written = recipe(desk, llama(tmp_path / "tiny-llama"), targets=schemes, require=limits)
    done = desk.publish("run", written)
    assert done.code == 0, done.err
    for target, form in (("fp8", "float-quantized"), ("w4", "pack-quantized")):
        release = Path(desk.shelf.api.snapshot_download(f"alice/tiny-llama-{target}", local_dir=tmp_path / target))
        said = json.loads((release / "config.json").read_text())["quantization_config"]
        assert (said["quant_method"], said["format"], said["ignore"]) == ("compressed-tensors", form, ["lm_head"])
        layers = json.loads((release / "publish" / "report.json").read_text())["layers"]
        assert len([layer for layer in layers if layer["quantized"]]) == 14
        card = (release / "README.md").read_text()
        assert "This very file" in card
        assert "which computes with the codes, was not run" in " ".join(card.split())
        checked = desk.publish("lint", release)
        assert checked.code == 0, checked.err


@pytest.mark.nightly
def test_a_file_lies_beside_what_servers_read(desk: Desk, tmp_path: Path) -> None:
    from tests.contract.test_llama_cpp import tokenizer as of_bytes

    both = [{"backend": "compressed-tensors", "scheme": "nvfp4a16"}, {"backend": "gguf", "scheme": "q8_0"}]
    source = llama(tmp_path / "tiny-llama", vocab_size=320, tie_word_embeddings=False)
    of_bytes(split="llama-bpe").save_pretrained(source)
    written = recipe(desk, source, targets={"files": {"model": both}}, require={"kl_divergence": {"max": 9.0}})
    done = desk.publish("run", written)
    assert done.code == 0, done.err
    release = Path(desk.shelf.api.snapshot_download("alice/tiny-llama-files", local_dir=tmp_path / "files"))
    assert "del config.quantization_config" in (release / "publish" / "usage-model-gguf-q8_0.py").read_text()
    assert [each["verdict"] for each in json.loads((release / "publish" / "report.json").read_text())["further"]] == [
        "PASS"
    ]
