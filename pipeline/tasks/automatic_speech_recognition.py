"""Automatic speech recognition: a clip becomes a transcript."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field, field_validator, model_validator

from pipeline.recipe import names
from pipeline.recipe.clause import RecipeModel, optional
from pipeline.recipe.problems import listed, nearest
from pipeline.recipe.prompts import Question
from pipeline.recipe.require import SIZE_RATIO_MEANS, Likeness, RatioAtMost, Requirements
from pipeline.recipe.schema import Argument, Keyword, Seed, Validation
from pipeline.source.layout import Place, read_json
from pipeline.tasks.answers import Request
from pipeline.tasks.metrics import metrics_of
from pipeline.tasks.protocol import Given, LoadedModel, Medium, Page, Task
from pipeline.tasks.speech.audio import RATE, read_clip
from pipeline.tasks.speech.transcripts import CER, INSERTIONS, REAL_TIME_FACTOR, TOKEN_AGREEMENT, WER, deaf, fault
from pipeline.tasks.texts import text as texts
from pipeline.tasks.texts.language_model import require_own_tokens
from pipeline.tasks.transformers_model import load_alone

CALL: Final[dict[str, type]] = {
    "language": str,
    "task": str,
    "num_beams": int,
    "max_new_tokens": int,
    "condition_on_prev_tokens": bool,
}
"""The words of `generate` that a recipe may use; what draws by chance is not among them."""
TASK_WORDS: Final = ("transcribe", "translate")
OF_SEVERAL: Final = ("language", "task")  # words of a model for several languages
GENERATION: Final = "generation_config.json"
CHUNK, STRIDE = 30, 5  # seconds that a page hears at once, and by which two such pieces overlap
SHARE: Final = "as a share of the words that are said"


@dataclass(frozen=True)
class Hearing:
    """A model with what makes spectrograms of clips and words of tokens."""

    model: Any
    processor: Any


def load(model: Path, dtype: str, loader: str) -> LoadedModel:
    """Load a model with its processor; see :func:`load_alone` for where and how.

    Raises:
        WorkerError: Its tokenizer is missing, or another model's.
    """
    import transformers

    found = load_alone(model, dtype, loader)
    processor = transformers.AutoProcessor.from_pretrained(model)
    require_own_tokens(found.model, processor.tokenizer)  # of one that is missing transformers makes one without words
    readers = {"feature_extractor": processor.feature_extractor, "tokenizer": processor.tokenizer}
    parts = {**found.components, **readers}
    return replace(found, model=Hearing(found.model, processor), components=parts)


def ask(loaded: LoadedModel, request: Request, question: int, _seed: int) -> Given:
    """Have a clip written down; one that is longer than the model's window by its own way for long ones."""
    import numpy as np
    import torch
    from transformers import LogitsProcessorList

    hearing, call = loaded.model, dict(request.call)
    clip = read_clip(request.file(question, "audio"))
    extractor, tokenizer = hearing.processor.feature_extractor, hearing.processor.tokenizer
    is_long = len(clip.samples) > extractor.n_samples
    whole = {"truncation": False, "padding": "longest"} if is_long else {}
    heard = extractor(clip.samples, sampling_rate=RATE, return_tensors="pt", return_attention_mask=True, **whole)
    features = heard["input_features"].to(loaded.device, hearing.model.dtype)
    chosen = Chosen()
    with torch.no_grad():  # quanto's kernels refuse inference tensors
        found = hearing.model.generate(
            features,
            attention_mask=heard["attention_mask"].to(loaded.device),
            logits_processor=LogitsProcessorList([chosen]),
            **({"return_timestamps": True} if is_long else {}),
            **call,
        )[0].tolist()
    greedy = call.get("num_beams", 1) == 1  # of beams only the winner's tokens are known, without the one that ends it
    tokens, logprobs = (chosen.tokens, chosen.logprobs) if greedy else (found, [])
    whole_text = greedy and "max_new_tokens" not in call
    return Given(
        np.array(logprobs, np.float64),
        besides={"sound": np.array([clip.seconds, clip.rate, clip.channels])},
        fault=endless(tokens, hearing.model.generation_config.eos_token_id) if whole_text else "",
        text=tokenizer.decode(found, skip_special_tokens=True),
        tokens=tokens,
        pieces=[tokenizer.decode([token], skip_special_tokens=True) for token in tokens],  # each window of a clip ends
        language=language_of(hearing.model.generation_config, call),
    )


def untaken(place: Place, call: Mapping[str, Any]) -> dict[str, str]:
    """Return the words of a call that ``generate`` refuses of a model for English alone."""
    alone = GENERATION in place.files and read_json(place, GENERATION).get("is_multilingual") is False
    why = f"it knows one language (is_multilingual is false in its {GENERATION}); leave it out"
    return {name: why for name in OF_SEVERAL if alone and name in call}


def language_of(config: Any, call: Mapping[str, Any]) -> str:
    """Return what language a transcript is in, by the model's generation config and the call; empty if neither says."""
    if call.get("task") == TASK_WORDS[1] or not getattr(config, "is_multilingual", True):
        return "en"
    return str(call.get("language") or getattr(config, "language", None) or "")


def question_in_browser(question: Question, call: Mapping[str, Any], files: str) -> tuple[str, dict[str, Any]]:
    """Return what the pipeline of transformers.js is called with to transcribe a clip, whatever its length."""
    return f"{files}{question.files['audio']}", {"chunk_length_s": CHUNK, "stride_length_s": STRIDE, **call}


def answer_in_browser(told: Mapping[str, Any]) -> Given:
    """Return a transcript, of which the page tells no tokens."""
    import numpy as np

    return Given(np.zeros(0), text=told["text"])


def endless(tokens: list[int], ends: int | list[int]) -> str:
    """Return that a transcript never ended, as the end of the sentence "it is ..."; empty for one that did."""
    ended = not tokens or tokens[-1] in (ends if isinstance(ends, list) else [ends])
    return "" if ended else f"endless: it was cut off after {len(tokens)} tokens"


class Chosen:
    """What a model chooses, step by step: the likeliest token and the logarithm of its probability.

    It stands behind all that suppresses tokens and changes nothing.
    """

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.logprobs: list[float] = []

    def __call__(self, _: Any, scores: Any) -> Any:
        """Hear of the scores of a step, shape (beams, vocabulary)."""
        likely = scores[0].float().log_softmax(-1).max(-1)
        self.tokens.append(int(likely.indices))
        self.logprobs.append(float(likely.values))
        return scores


class RiseAtMost(RecipeModel):
    """An upper bound of how many more errors there are than the source makes."""

    max: float = Field(ge=0, le=1, description=f"How far the target's rate may lie above the source's, {SHARE}.")
    worst: Annotated[float, Field(ge=0)] | None = optional("How far a single clip's may lie above the source's.")


class ErrorRateAtMost(RecipeModel):
    """Bounds of an error rate: what it is, how far it rises above the source's, or both."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["max"]}, {"required": ["rise"]}]})

    max: Annotated[float, Field(ge=0)] | None = optional("The greatest rate that passes.")
    rise: RiseAtMost | None = optional("How far the rate may rise above the source's.")

    @model_validator(mode="after")
    def _has_one(self) -> ErrorRateAtMost:
        if self.max is None and self.rise is None:
            raise names.UnfitError("nothing is required of it; write max or rise")
        return self


class WorstRise(RecipeModel):
    """An upper bound of a rise in every clip."""

    worst: int = Field(ge=0, description="How many words more than the source hears may be heard in such a clip.")


class InsertionsAtMost(RecipeModel):
    """Bounds of the words that are heard where nothing is said: how many, how many more than the source's, or both."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["worst"]}, {"required": ["rise"]}]})

    worst: Annotated[int, Field(ge=0)] | None = optional("How many words may be heard in such a clip.")
    rise: WorstRise | None = optional("How many words more than the source hears; Whisper itself hears a few.")

    @model_validator(mode="after")
    def _has_one(self) -> InsertionsAtMost:
        if self.worst is None and self.rise is None:
            raise names.UnfitError("nothing is required of it; write worst or rise")
        return self


class AgreementAtLeast(RecipeModel):
    """A lower bound of a share of tokens."""

    min: Likeness = Field(description="The least mean over all clips that passes.")
    worst: Likeness | None = optional("What the worst clip must keep.")


class Require(Requirements):
    """What a target must reach to be published; at least one requirement."""

    wer: Annotated[ErrorRateAtMost | None, WER] = optional("Word error rate against the transcripts.")
    cer: Annotated[ErrorRateAtMost | None, CER] = optional("The same of letters: character error rate.")
    insertions_on_silence: Annotated[InsertionsAtMost | None, INSERTIONS] = optional(
        "Words that are heard in clips in which nothing is said, whose transcript is empty."
    )
    token_agreement: Annotated[AgreementAtLeast | None, TOKEN_AGREEMENT] = optional(
        "Share of the transcript's tokens that are those of the source."
    )
    size_ratio: RatioAtMost | None = optional(SIZE_RATIO_MEANS)


class SpeechRecognitionValidation(Validation):
    """How the targets are judged against the source."""

    seeds: tuple[Annotated[Seed, Field(le=0)], ...] = Field(
        default=(0,), min_length=1, max_length=1, description="Transcripts depend on no seed; leave this out."
    )
    call: dict[Keyword, Argument] = Field(
        default_factory=dict,
        description="Arguments of `generate`: `language` and `task` (transcribe or translate) of a model for several "
        "languages, `num_beams`, `max_new_tokens`, `condition_on_prev_tokens`.",
    )
    require: Require = Field(description="What a target must reach to be published.")

    @field_validator("call")
    @classmethod
    def _is_known(cls, call: dict[str, Argument]) -> dict[str, Argument]:
        for name, value in call.items():
            if name not in CALL:
                meant = nearest(name, CALL)
                hint = f"did you mean '{meant}'?" if meant else f"they are {listed(CALL, 'and')}"
                raise names.UnfitError(f"{name} is none of the arguments that a transcript is made with; {hint}")
            if type(value) is not CALL[name]:
                raise names.UnfitError(f"{name} must be {NOUNS[CALL[name]]}")
            if isinstance(value, int) and not isinstance(value, bool) and value < 1:
                raise names.UnfitError(f"{name} must be 1 or more")
        if (task := call.get("task", TASK_WORDS[0])) not in TASK_WORDS:
            raise names.UnfitError(f"task must be {listed(TASK_WORDS)}, found {task!r}")
        return call


NOUNS: Final = {str: "a text", int: "a whole number", bool: "true or false"}

TRANSCRIPTS: Final = Medium(
    noun="transcript",
    suffix=texts.SUFFIX,
    save=texts.save,
    open=texts.read,
    content=texts.content,
    unlike=texts.unlike,
    fault=fault,
    sketch=texts.sketch,
    alike=texts.ALIKE,
    decibels=texts.decibels,
    metrics={**metrics_of(Require), "real_time_factor": REAL_TIME_FACTOR},
    ranking="token_agreement",
    packages=("scipy", "transformers"),
    imports=("transformers.models.whisper.english_normalizer",),
    words=lambda said: str(said.text),
    lost=deaf,
)

AUTOMATIC_SPEECH_RECOGNITION: Final = Task(
    medium=TRANSCRIPTS,
    validation=SpeechRecognitionValidation,
    library="transformers",
    loader="AutoModelForSpeechSeq2Seq",
    usage="speech.py.jinja",
    installs=("transformers", "accelerate", "scipy"),
    imports=("transformers",),
    load=load,
    ask=ask,
    seeded=False,
    single=True,
    files={"audio": "a clip of sound"},
    open_file=read_clip,
    page=Page(question=question_in_browser, answer=answer_in_browser, usage="speech.html.jinja", trial="transcript"),
    label="transcript",
    named_by="audio",
    exact=True,
    untaken=untaken,
)
