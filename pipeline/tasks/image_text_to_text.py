"""Image and text to text: a picture and what is asked about it, as vision-language models answer it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from pipeline.recipe.prompts import Question
from pipeline.tasks.answers import Request
from pipeline.tasks.images.medium import read
from pipeline.tasks.protocol import Given, LoadedModel
from pipeline.tasks.text_generation import TEXT_GENERATION
from pipeline.tasks.texts import language_model
from pipeline.tasks.texts.language_model import answered, rendered, require_room, same_beginning
from pipeline.tasks.transformers_model import TextModel
from pipeline.worker.child import first_line


@dataclass(frozen=True)
class VisionModel(TextModel):
    """A model with its tokenizer, and with the processor that prepares pictures and texts together."""

    processor: Any


def load(model: Path, dtype: str, loader: str) -> LoadedModel:
    """Load a vision-language model with its processor.

    Raises:
        WorkerError: There is no tokenizer or processor, or it is another model's.
    """
    import transformers

    found = language_model.load(model, dtype, loader)
    try:
        processor = transformers.AutoProcessor.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise language_model.unfit(f"The processor cannot be loaded: {first_line(error)}") from error
    parts = {**found.components, "processor": processor}
    return replace(found, model=VisionModel(found.model.model, found.model.tokenizer, processor), components=parts)


def ask(loaded: LoadedModel, request: Request, question: int, _seed: int) -> Given:
    """Return what a model expects at each token of a question about a picture, and its greedy answer."""
    model, asked, call = loaded.model, request.questions[question], request.call
    picture, messages = read(request.file(question, "image")), messages_of(asked)
    text, other = (rendered(model.processor, said, call) for said in (messages, without_words(messages)))
    begin, others, whole = (
        model.processor(text=[one], images=[picture], return_tensors="pt", add_special_tokens=False).to(
            loaded.device, model.model.dtype
        )
        for one in (text, other, text + asked.text)
    )
    length, every = begin["input_ids"].shape[1], whole["input_ids"].shape[1]
    both = (one["input_ids"][0].tolist() for one in (begin, others))
    first = length if asked.text else max(1, same_beginning(*both))
    require_room(model.model, asked, length, every - length, first, call)
    return answered(loaded, whole, begin, first, call, least=seen(model.model, whole["input_ids"][0]))


def seen(model: Any, tokens: Any) -> int:
    """Return how many of some tokens, shape (tokens,), end with the picture's; all where none is known to be its."""
    places = (tokens == getattr(model.config, "image_token_id", -1)).nonzero()
    return int(places.max()) + 1 if len(places) else len(tokens)


def messages_of(asked: Question) -> list[dict[str, Any]]:
    """Return a question as a conversation, in which the picture stands before what the user says first."""
    said = [message.model_dump() for message in asked.messages] or [{"role": "user", "content": asked.prompt}]
    found = [{**one, "content": [{"type": "text", "text": one["content"]}]} for one in said]
    first = next(one for one in found if one["role"] == "user")
    first["content"].insert(0, {"type": "image"})
    return found


def without_words(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a conversation with its picture, in which everybody says something else."""
    return [
        {
            **one,
            "content": [part if part["type"] == "image" else {"type": "text", "text": "?"} for part in one["content"]],
        }
        for one in messages
    ]


IMAGE_TEXT_TO_TEXT: Final = replace(
    TEXT_GENERATION,
    loader="AutoModelForImageTextToText",
    usage="vision_language.py.jinja",
    installs=("transformers", "accelerate", "pillow"),
    load=load,
    ask=ask,
    files={"image": "the picture that is asked about"},
    open_file=read,
)
