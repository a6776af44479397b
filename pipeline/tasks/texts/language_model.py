"""Language models of transformers: asked what they expect at each token of a question, then for an answer.

A question's distribution is over its own tokens, for source and result see nothing of each other: they are the same on
both sides whatever is answered. What a chat template puts before every first message is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from pipeline.recipe.prompts import Question
from pipeline.tasks import transformers_model
from pipeline.tasks.answers import Request
from pipeline.tasks.protocol import Given, LoadedModel
from pipeline.tasks.texts.distribution import EXPECTED, SAID, kept
from pipeline.tasks.transformers_model import TextModel
from pipeline.worker.child import WorkerError, first_line

NEW_TOKENS: Final = 64  # of an answer, unless the call says otherwise
USED: Final = 0.75  # of a model's embeddings that its tokenizer has tokens for at least; publishers pad them by a few


@dataclass(frozen=True)
class Tokens:
    """A question as the model reads it.

    Attributes:
        asked: The ids of what is answered.
        told: The ids of a text after it, which might be the answer.
        first: The first of all these that what is expected is measured at.
    """

    asked: list[int]
    told: list[int]
    first: int


def load(model: Path, dtype: str, loader: str) -> LoadedModel:
    """Load a language model with its tokenizer, which must be its own.

    Raises:
        WorkerError: There is no tokenizer, or it is another model's.
    """
    try:
        found = transformers_model.load(model, dtype, loader)
    except OSError as error:
        raise unfit(f"Model or tokenizer cannot be loaded: {first_line(error)}") from error
    require_own_tokens(found.model)
    return found


def require_own_tokens(loaded: TextModel) -> None:
    """Refuse a tokenizer whose tokens are not those of the embeddings.

    Raises:
        WorkerError: It has tokens that have no embedding, or far fewer than there are embeddings.
    """
    rows = loaded.model.get_input_embeddings().weight.shape[0]
    most = max(loaded.tokenizer.get_vocab().values(), default=-1)
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
    text_model, asked = loaded.model, request.questions[question]
    tokens = tokens_of(text_model.tokenizer, asked, request.call)
    require_room(text_model.model, tokens, asked, request.call)
    return answered(loaded, tokens, {}, request.call)


def tokens_of(tokenizer: Any, asked: Question, call: Any) -> Tokens:
    """Return the tokens of a question.

    Raises:
        WorkerError: There are too few of them, or the chat template does not render them.
    """
    if asked.messages:
        messages = [message.model_dump() for message in asked.messages]
        ids = rendered(tokenizer, messages, call)
        others = rendered(tokenizer, [{**message, "content": "?"} for message in messages], call)
        first = max(1, same_beginning(ids, others))
    else:
        ids, first = list(tokenizer(asked.prompt).input_ids), 1
    told = list(tokenizer(asked.text, add_special_tokens=False).input_ids) if asked.text else []
    first = len(ids) if told else first
    if len(ids) + len(told) <= first:
        what = f"The question {asked.prompt!r} has a single token, before which there is nothing to expect it from."
        raise WorkerError("recipe", what, "Ask something longer.")
    return Tokens(ids, told, first)


def same_beginning(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two texts begin with that are the same."""
    differs = (at for at, both in enumerate(zip(one, other, strict=False)) if both[0] != both[1])
    return next(differs, min(len(one), len(other)))


def rendered(tokenizer: Any, messages: Sequence[Any], call: Any) -> list[int]:
    """Return the tokens of a conversation that the model continues, by its chat template.

    Raises:
        WorkerError: There is no template, or it does not take the conversation.
    """
    if not tokenizer.chat_template:
        remedy = "Ask with 'prompt' in place of 'messages', or name a commit that has the template."
        raise WorkerError("source", "The model has no chat template, and a question has messages.", remedy)
    further = {name: call[name] for name in ("enable_thinking",) if name in call}
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **further)
    except Exception as error:  # of Jinja, of any class: a template is a program
        what = f"The chat template does not render this conversation: {first_line(error)}"
        raise WorkerError(
            "source", what, "Correct the messages, or name a commit whose template takes them."
        ) from error
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def require_room(model: Any, tokens: Tokens, asked: Question, call: Any) -> None:
    """Refuse a question that a model cannot hold together with its answer.

    Raises:
        WorkerError: It has more tokens than the model has places.
    """
    places = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    length = len(tokens.asked) + max(len(tokens.told), int(call.get("max_new_tokens", NEW_TOKENS)))
    if places and length > places:
        what = (
            f"The question {asked.prompt[:60]!r} and its answer may have {length} tokens, and the model has {places}."
        )
        raise WorkerError("recipe", what, "Ask something shorter, or lower max_new_tokens.")


def answered(loaded: LoadedModel, tokens: Tokens, besides: dict[str, Any], call: Any) -> Given:
    """Return what a model expects at the tokens of a question, and its greedy answer.

    Args:
        loaded: The model.
        tokens: The question.
        besides: What else the model is given, such as a picture.
        call: The recipe's.
    """
    import numpy as np
    import torch

    model, tokenizer = loaded.model.model, loaded.model.tokenizer
    whole = torch.tensor([tokens.asked + tokens.told], device=loaded.device)
    with torch.no_grad():  # quanto's kernels refuse inference tensors
        logits = model(input_ids=whole, attention_mask=torch.ones_like(whole), **besides).logits[0, tokens.first - 1 :]
    broken = int((~torch.isfinite(logits.float().amax(-1))).sum())
    said = [
        torch.log_softmax(row.float(), -1)[token].item()
        for row, token in zip(logits, whole[0, tokens.first :].tolist(), strict=False)
    ]
    fault = f"broken: at {broken} tokens of the question what is expected is no number" if broken else ""
    kinds = {EXPECTED: kept(logits.nan_to_num()), SAID: np.nan_to_num(np.array(said, np.float32))}
    del logits
    return replace(
        continued(model, tokenizer, whole[:, : len(tokens.asked)], besides, call), besides=kinds, fault=fault
    )


def continued(model: Any, tokenizer: Any, ids: Any, besides: dict[str, Any], call: Any) -> Given:
    """Return a model's greedy answer."""
    import torch

    with torch.no_grad():
        made = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            **besides,
            **arguments(call),
            return_dict_in_generate=True,
            output_logits=True,
        )
    new = made.sequences[0, ids.shape[1] :].tolist()
    rows = zip(made.logits, new, strict=True)
    logprobs = torch.tensor([torch.log_softmax(row[0].float(), -1)[token].item() for row, token in rows])
    pieces = [tokenizer.decode([token]) for token in new]
    text = tokenizer.decode(new, skip_special_tokens=True)
    return Given(logprobs.numpy(), text=text, tokens=new, pieces=pieces)


def arguments(call: Any) -> dict[str, Any]:
    """Return how ``generate`` is called: greedily, whatever the model's own defaults say."""
    greedy = {"do_sample": False, "num_beams": 1, "temperature": None, "top_p": None, "top_k": None}
    further = {name: value for name, value in call.items() if name != "enable_thinking"}
    return {"max_new_tokens": NEW_TOKENS, **greedy, **further}
