"""Language models of transformers: asked what they expect at each token of a question, then for an answer.

A question's distribution is over its own tokens, for source and result see nothing of each other: they are the same on
both sides whatever is answered. What a chat template puts before every first message is left out. The second half is
read as an answer is made, with the cache of what stands before.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from pipeline.recipe.prompts import Question
from pipeline.tasks import transformers_model
from pipeline.tasks.answers import Request
from pipeline.tasks.protocol import Given, LoadedModel
from pipeline.tasks.texts.distribution import kept
from pipeline.tasks.texts.text import EXPECTED, SAID
from pipeline.tasks.transformers_model import TextModel
from pipeline.worker.child import WorkerError, first_line

NEW_TOKENS: Final = 64  # of an answer, unless the call says otherwise
SECONDS: Final = 10  # that a conversation may take to render: a template is a program, and one that ends takes none
LONGEST: Final = 1_000_000  # characters of a conversation, more than models have places for
STEPS: Final = (
    8  # tokens of a question, of its second half at most, that are read one by one, as those of an answer are
)
USED: Final = 0.75  # of a model's embeddings that its tokenizer has tokens for at least; publishers pad them by a few


def load(model: Path, dtype: str, loader: str) -> LoadedModel:
    """Load a language model with its tokenizer, which must be its own.

    Raises:
        WorkerError: There is no tokenizer, or it is another model's.
    """
    try:
        found = transformers_model.load(model, dtype, loader)
    except OSError as error:
        raise unfit(f"Model or tokenizer cannot be loaded: {first_line(error)}") from error
    require_own_tokens(found.model.model, found.model.tokenizer)
    return found


def require_own_tokens(model: Any, tokenizer: Any) -> None:
    """Refuse a tokenizer whose tokens are not those of the embeddings.

    Raises:
        WorkerError: It has tokens that have no embedding, or far fewer than there are embeddings.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    most = max(tokenizer.get_vocab().values(), default=-1)
    if most >= rows:
        raise unfit(f"The tokenizer has a token {most}, and the model embeds {rows}, numbered from 0.")
    if most + 1 < USED * rows:
        raise unfit(f"The tokenizer has {most + 1} tokens, and the model embeds {rows}: it is another model's.")


def unfit(what: str) -> WorkerError:
    """Return the refusal of a model with its tokenizer."""
    remedy = "Put the tokenizer's files as its publisher has them beside config.json, and name a commit that has both."
    return WorkerError("source", what, remedy)


def ask(loaded: LoadedModel, request: Request, question: int, _seed: int) -> Given:
    """Return what a model expects at each token of a question, and its greedy answer."""
    import torch

    model, asked, call = loaded.model, request.questions[question], request.call
    tokenizer = model.tokenizer
    if asked.messages:
        messages = [message.model_dump() for message in asked.messages]
        text, other = (rendered(tokenizer, said, call) for said in (messages, unsaid(messages)))
        ids, others = (list(tokenizer(one, add_special_tokens=False).input_ids) for one in (text, other))
        first = same_beginning(ids, others)
    else:
        ids, first = list(tokenizer(asked.prompt).input_ids), 1
    told = list(tokenizer(asked.text, add_special_tokens=False).input_ids) if asked.text else []
    first = len(ids) if told else max(1, first)
    require_room(model.model, asked, len(ids), len(told), first, call)
    tensors = (torch.tensor([some], device=loaded.device) for some in (ids + told, ids))
    whole, begin = ({"input_ids": some, "attention_mask": torch.ones_like(some)} for some in tensors)
    return answered(loaded, whole, begin, first, call)


def unsaid(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a conversation in which everybody says something else: what stays the same is the template's."""
    return [{**message, "content": "?"} for message in messages]


def same_beginning(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two texts begin with that are the same."""
    differs = (at for at, both in enumerate(zip(one, other, strict=False)) if both[0] != both[1])
    return next(differs, min(len(one), len(other)))


def rendered(reader: Any, messages: Sequence[Any], call: Any) -> str:
    """Return a conversation that the model continues, by the chat template of its tokenizer or processor.

    Raises:
        WorkerError: There is no template, or it does not take the conversation, or makes no end of it.
    """
    if not reader.chat_template:
        remedy = "Ask with 'prompt' in place of 'messages', or name a commit that has the template."
        raise WorkerError("source", "The model has no chat template, and a question has messages.", remedy)
    further = {name: call[name] for name in ("enable_thinking",) if name in call}
    try:
        with deadline(SECONDS):
            text = str(reader.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **further))
    except Exception as error:  # of Jinja, of any class: a template is a program
        raise unrendered(first_line(error)) from error
    if len(text) > LONGEST:
        raise unrendered(f"it makes {len(text):,} characters, and {LONGEST:,} are the most that are read.")
    return text


def unrendered(why: str) -> WorkerError:
    """Return the refusal of a chat template."""
    remedy = "Correct the messages, or name a commit whose template takes them."
    return WorkerError("source", f"The chat template does not render this conversation: {why}", remedy)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Interrupt what takes longer, in the main thread of a process.

    Raises:
        TimeoutError: It did.
    """

    def late(*_: object) -> None:
        raise TimeoutError(f"it does not end within {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def require_room(model: Any, asked: Question, length: int, told: int, first: int, call: Any) -> None:
    """Refuse a question in which nothing is expected, or that a model cannot hold together with its answer.

    Raises:
        WorkerError: It has a single token, or more than the model has places.
    """
    if length + told <= first:
        what = f"The question {asked.prompt!r} has a single token, before which there is nothing to expect it from."
        raise WorkerError("recipe", what, "Ask something longer.")
    places = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    taken = length + max(told, int(call.get("max_new_tokens", NEW_TOKENS)))
    if places and taken > places:
        what = f"The question {asked.prompt[:60]!r} with its answer takes {taken} tokens, and the model has {places}."
        raise WorkerError("recipe", what, "Ask something shorter, or lower max_new_tokens.")


def answered(
    loaded: LoadedModel, whole: Mapping[str, Any], asked: Mapping[str, Any], first: int, call: Any, least: int = 1
) -> Given:
    """Return what a model expects at the tokens of a question, and its greedy answer.

    Args:
        loaded: The model.
        whole: What it is given to be measured, as tensors by their names.
        asked: What of it is answered.
        first: The first token that what is expected is measured at.
        call: The recipe's.
        least: Tokens that must be read at once.
    """
    import numpy as np
    import torch

    with torch.no_grad():  # quanto's kernels refuse inference tensors
        logits = logits_of(loaded.model.model, whole, first, least)
    broken = int((~torch.isfinite(logits.float().amax(-1))).sum())
    fault = f"broken: at {broken} tokens of the question what is expected is no number" if broken else ""
    said = [
        torch.log_softmax(row.float(), -1)[token].item()
        for row, token in zip(logits, whole["input_ids"][0, first:].tolist(), strict=False)
    ]
    arrays = {EXPECTED: kept(logits.nan_to_num()), SAID: np.nan_to_num(np.array(said, np.float32))}
    del logits
    return replace(continued(loaded.model, asked, call), besides=arrays, fault=fault)


def logits_of(model: Any, whole: Mapping[str, Any], first: int, least: int) -> Any:
    """Return the logits from which each token of a text is expected, and what follows it: shape (places, vocabulary).

    The second half is read with the cache of what stands before, the last few tokens one by one. A model that keeps a
    state in place of keys and values, or that generates without a cache, reads all at once.

    Args:
        model: The model.
        whole: What it is given, as tensors by their names.
        first: The first token that is measured, 1 or more.
        least: Tokens that must be read at once.
    """
    import torch

    length = whole["input_ids"].shape[1]
    half = min(max(least, (first + length) // 2), length - 1)
    cached = not model._is_stateful and model.generation_config.use_cache is not False
    cuts = sorted({half, *range(max(half, length - STEPS), length)}) if cached else []
    found: list[Any] = []
    past: dict[str, Any] = {}
    for begin, end in pairwise([0, *cuts, length]):
        answer = model(**piece(whole, begin, end), **past)
        found.append(answer.logits[0, first - 1 if begin == 0 else 0 :])
        past = {"past_key_values": answer.past_key_values} if cached else {}
    return torch.cat(found)


def piece(whole: Mapping[str, Any], begin: int, end: int) -> dict[str, Any]:
    """Return what a model is given to read some tokens of a text: pictures with the first, a mask of all before."""
    size, mask = whole["input_ids"].shape, "attention_mask"
    by_token = {name: tensor[:, begin:end] for name, tensor in whole.items() if tensor.shape[:2] == size}
    return {**(whole if begin == 0 else {}), **by_token, mask: whole[mask][:, :end]}


def continued(loaded: TextModel, asked: Mapping[str, Any], call: Any) -> Given:
    """Return a model's greedy answer."""
    import torch

    with torch.no_grad():
        made = loaded.model.generate(**asked, **arguments(call), return_dict_in_generate=True, output_logits=True)
    new = made.sequences[0, asked["input_ids"].shape[1] :].tolist()
    rows = zip(made.logits, new, strict=True)
    logprobs = torch.tensor([torch.log_softmax(row[0].float(), -1)[token].item() for row, token in rows])
    pieces = [loaded.tokenizer.decode([token]) for token in new]
    text = loaded.tokenizer.decode(new, skip_special_tokens=True)
    return Given(logprobs.numpy(), text=text, tokens=new, pieces=pieces)


def arguments(call: Any) -> dict[str, Any]:
    """Return how ``generate`` is called: greedily, whatever the model's own defaults say."""
    greedy = {"do_sample": False, "num_beams": 1, "temperature": None, "top_p": None, "top_k": None}
    further = {name: value for name, value in call.items() if name != "enable_thinking"}
    return {"max_new_tokens": NEW_TOKENS, **greedy, **further}
