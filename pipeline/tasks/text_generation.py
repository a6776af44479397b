"""Text generation: a prompt or a conversation is continued, and what was expected at each of its tokens is compared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import Field, field_validator

from pipeline.recipe import names
from pipeline.recipe.prompts import MESSAGES, TEXT, Question
from pipeline.recipe.schema import Argument, Keyword, Seed, Validation
from pipeline.tasks.metrics import metrics_of
from pipeline.tasks.protocol import Given, Medium, Page, Task
from pipeline.tasks.texts import text
from pipeline.tasks.texts.language_model import NEW_TOKENS, ask, load
from pipeline.tasks.texts.require import Require

MOST_TOKENS: Final = 4096  # of an answer
CYCLE: Final = 8  # tokens of the longest cycle by which an answer that goes round in it says nothing
ROUNDS: Final = 24  # tokens of the shortest answer that can be told to go round


class TextGenerationValidation(Validation):
    """How the targets are judged against the source."""

    seeds: tuple[Annotated[Seed, Field(le=0)], ...] = Field(
        default=(0,),
        min_length=1,
        max_length=1,
        description="Answers are greedy; leave this out.",
    )
    call: dict[Keyword, Argument] = Field(
        default_factory=dict,
        description="`max_new_tokens` of an answer (64 unless said), `repetition_penalty`, and `enable_thinking` where "
        "the chat template knows it.",
    )
    require: Require = Field(description="What a target must reach to be published.")

    @field_validator("call")
    @classmethod
    def _is_known(cls, call: dict[str, Argument]) -> dict[str, Argument]:
        for name, value in call.items():
            if name not in FITS or not FITS[name](value):
                raise names.UnfitError(
                    f"a text is made greedily, by max_new_tokens: 1 to {MOST_TOKENS}, repetition_penalty: a number "
                    "above 0, and enable_thinking: true or false"
                )
        return call


FITS: Final[dict[str, Any]] = {
    "max_new_tokens": lambda value: type(value) is int and 1 <= value <= MOST_TOKENS,
    "repetition_penalty": lambda value: type(value) in {int, float} and value > 0,
    "enable_thinking": lambda value: isinstance(value, bool),
}


def question_in_browser(question: Question, call: Mapping[str, Any], _files: str) -> tuple[Any, dict[str, Any]]:
    """Return what the pipeline of transformers.js is called with to continue a text or a conversation, greedily."""
    options: dict[str, Any] = {"max_new_tokens": NEW_TOKENS, "do_sample": False, **call}
    thinking = {name: options.pop(name) for name in ("enable_thinking",) if name in options}
    if question.messages:
        messages = [message.model_dump() for message in question.messages]
        return messages, options | ({"tokenizer_encode_kwargs": thinking} if thinking else {})
    return question.prompt, options | {"return_full_text": False, "add_special_tokens": True}


def answer_in_browser(told: Sequence[Mapping[str, Any]]) -> Given:
    """Return an answer, of which the page tells no tokens: alone, or as the last message of a conversation."""
    import numpy as np

    said = told[0]["generated_text"]
    return Given(np.zeros(0), text=said if isinstance(said, str) else said[-1]["content"])


def content(answer: text.Text) -> bytes:
    """Return words, tokens and how sure the model was: short answers to two questions may well say the same."""
    return json.dumps([answer.text, answer.tokens, answer.logprobs]).encode()


def sketch(answer: text.Text) -> Any:
    """Return the answer's tokens with their log probabilities, shape (2, tokens)."""
    import numpy as np

    return np.array([answer.tokens, answer.logprobs], np.float64)


def fault(answer: text.Text, reference: text.Text) -> str:
    """Return what makes an answer none: it has other tokens to choose of, is empty, or goes round alone."""
    if answer.expected and reference.expected and answer.expected != reference.expected:
        return other_tokens(answer.expected, reference.expected)
    if not answer.text.strip():
        return "empty" if answer is reference or reference.text.strip() else ""
    if (cycle := cycle_of(answer)) and not cycle_of(reference):
        return f"endless: it goes round in {''.join(answer.pieces[-cycle:])!r}"
    return ""


def other_tokens(own: tuple[int, ...], source: tuple[int, ...]) -> str:
    """Return in what the places at which something is expected, or the tokens that can be, are not the source's."""
    if own[1] != source[1]:
        return f"chosen of {own[1]} tokens where the source's vocabulary has {source[1]}"
    return f"to a question of {own[0]} tokens where the source reads {source[0]}"


def cycle_of(answer: text.Text) -> int:
    """Return how many tokens an answer repeats again and again, for three quarters of it or more; 0 if it does not."""
    tokens = answer.tokens
    if len(tokens) < ROUNDS:
        return 0
    tail = tokens[len(tokens) // 4 :]
    return next((size for size in range(1, CYCLE + 1) if tail[size:] == tail[:-size]), 0)


ANSWERS: Final = Medium(
    noun="answer",
    suffix=text.SUFFIX,
    save=text.save,
    open=text.read,
    content=content,
    unlike=text.unlike,
    fault=fault,
    sketch=sketch,
    alike=text.ALIKE,
    decibels=text.decibels,
    metrics=metrics_of(Require),
    ranking="kl_divergence",
    packages=("scipy",),
    imports=("scipy.stats",),
    words=lambda answer: answer.text,
)

TEXT_GENERATION: Final = Task(
    medium=ANSWERS,
    validation=TextGenerationValidation,
    library="transformers",
    loader="AutoModelForCausalLM",
    usage="causal_lm.py.jinja",
    installs=("transformers", "accelerate"),
    imports=("transformers",),
    load=load,
    ask=ask,
    seeded=False,
    single=True,
    words=(MESSAGES, TEXT),
    page=Page(
        question=question_in_browser, answer=answer_in_browser, usage="causal_lm.html.jinja", trial="continuation"
    ),
)
