"""JSON beside somebody's weights, of which a header tells: what is read of it, with its types, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError

from pipeline.errors import SourceError
from pipeline.source.strict import WHOLE

TOKENIZER: Final = "tokenizer.json"
Count = Annotated[int, Field(gt=0, lt=2**31)]
Id = Annotated[int, Field(ge=0, lt=2**31)]
Number = Annotated[float, Field(ge=-3.4e38, le=3.4e38)]  # what a float32 holds
Positive = Annotated[float, Field(gt=0, le=3.4e38)]
Read = TypeVar("Read", bound=BaseModel)


class Given(BaseModel):
    """An object that somebody else wrote."""

    model_config = ConfigDict(strict=True, frozen=True)


def read_as(kind: type[Read], value: Any, where: str) -> Read:
    """Return an object with its types.

    Args:
        kind: What is read of it.
        value: What stands there.
        where: The file, as it begins a sentence.

    Raises:
        SourceError: Something lacks, or is no such thing.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise SourceError(f"{where} has no {key}.", remedy=WHOLE) from error
        what = f"{where} is not readable{f' at {key}' if key else ''}: {first['msg'][0].lower()}{first['msg'][1:]}."
        raise SourceError(what, remedy=WHOLE) from error


class AddedToken(Given):
    """A token that is found in a text before it is split."""

    content: str
    id: Id
    special: bool = False
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False


class Pattern(Given):
    """What a step looks for."""

    String: str | None = None
    Regex: str | None = None


class Adding(Given):
    """The name of tokens that a template adds."""

    id: str


class Ids(Given):
    """The numbers of them."""

    ids: list[Id]


class Piece(Given):
    """A part of a template: the text, or tokens that are added to it."""

    Sequence: Any = None
    SpecialToken: Adding | None = None


class Step(Given):
    """What a tokenizer does with a text before it looks for tokens, or with the tokens behind it."""

    type: str
    pretokenizers: list[Step] = []
    normalizers: list[Step] = []
    processors: list[Step] = []
    pattern: Pattern = Pattern()
    behavior: str = ""
    invert: bool = False
    add_prefix_space: bool = False
    use_regex: bool = True
    individual_digits: bool = False
    prepend: str = ""
    content: str = ""
    replacement: str = ""
    prepend_scheme: str = "always"
    split: bool | None = True
    strip_left: bool = False
    strip_right: bool = False
    precompiled_charsmap: str = ""
    single: list[Piece] = []
    special_tokens: dict[str, Ids] = {}

    @property
    def telling(self) -> Any:
        """What makes a step of this kind that one; None where that is not known."""
        said = self.pattern
        found = {
            "ByteLevel": None if self.add_prefix_space else self.use_regex,
            "Digits": self.individual_digits,
            "Split": said.Regex if self.behavior == "Isolated" and not self.invert else None,
            "Prepend": self.prepend,
            "Replace": (said.Regex if said.String is None else said.String, self.content),
            "Metaspace": (self.replacement, self.prepend_scheme, self.split is not False),
            "Strip": (self.strip_left, self.strip_right),
        }
        return found.get(self.type)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The single steps that it stands for."""
        if self.type != "Sequence":
            return (self,)
        inner = (*self.pretokenizers, *self.normalizers, *self.processors)
        return tuple(found for one in inner for found in one.steps)


class Tokenizer(Given):
    """A ``tokenizer.json``."""

    model: dict[str, Any]
    normalizer: Step | None = None
    pre_tokenizer: Step | None = None
    post_processor: Step | None = None
    added_tokens: list[AddedToken] = []

    @property
    def kind(self) -> str:
        """How it looks for tokens."""
        return read_as(Kind, self.model, f"{TOKENIZER}'s model").type


class Kind(Given):
    """How a tokenizer looks for tokens."""

    type: str = ""


class Merged(Given):
    """A vocabulary that was merged of pairs."""

    vocab: dict[str, Id]
    merges: list[str | Annotated[list[str], Field(min_length=2, max_length=2)]]
    ignore_merges: bool = False
    byte_fallback: bool = False
    dropout: Number | None = None
    continuing_subword_prefix: str | None = None
    end_of_word_suffix: str | None = None

    @property
    def pairs(self) -> list[Sequence[str]]:
        """The neighbours that are merged, of which some files write both into one text.

        Raises:
            SourceError: One is no pair.
        """
        found: list[Sequence[str]] = [merge.split(" ") if isinstance(merge, str) else merge for merge in self.merges]
        if other := next((pair for pair in found if len(pair) != 2), None):
            raise SourceError(f"{TOKENIZER} merges {' '.join(other)!r}, which is no pair.", remedy=WHOLE)
        return found


class Unigrams(Given):
    """A vocabulary of words with their scores."""

    vocab: list[Annotated[tuple[str, Number], Strict(False)]]
    unk_id: Id | None = None
    byte_fallback: bool = False


class Named(Given):
    """A token where settings name it: its text, or an object around it."""

    content: str


class SpecialTokens(Given):
    """The tokens that settings name, as ``special_tokens_map.json`` has them."""

    bos_token: str | Named | None = None
    eos_token: str | Named | None = None
    unk_token: str | Named | None = None
    pad_token: str | Named | None = None

    def text_of(self, name: str) -> str | None:
        """Return the text of one."""
        token = getattr(self, name)
        return token.content if isinstance(token, Named) else token


class Template(Given):
    """One of several chat templates."""

    name: str
    template: str


class Settings(SpecialTokens):
    """A ``tokenizer_config.json``."""

    chat_template: str | list[Template] | None = None
    added_tokens_decoder: Any = None


class Ending(Given):
    """What ends a text that a model continues, as its config says or a ``generation_config.json``."""

    eos_token_id: Id | list[Id] | None = None
