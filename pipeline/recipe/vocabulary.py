"""The words a recipe may use that other rooms own: backends, schemes and their options, tasks, card templates.

They are passed in, because a recipe stands on the same floor as the backends and knows none of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from pipeline.recipe.problems import nearest
from pipeline.recipe.prompts import Form

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel


class SchemeRules(Protocol):
    """What a recipe needs to know of a scheme; `pipeline.backends.Scheme` has it."""

    @property
    def options(self) -> type[BaseModel]:
        """The type of the scheme's options, with their defaults."""

    @property
    def refuses(self) -> Mapping[str, str]:
        """Libraries whose components the scheme cannot save, with the reason."""

    @property
    def dtype(self) -> str:
        """The only dtype of what is not quantized; empty where there are more."""

    @property
    def ends(self) -> str:
        """Why its library will not be read for long, as a sentence; empty where nobody said so."""


class TaskRules(Protocol):
    """What a recipe needs to know of a task; `pipeline.tasks.Task` has it."""

    @property
    def validation(self) -> type[BaseModel]:
        """The type of the clause ``validation``."""

    @property
    def files(self) -> Mapping[str, str]:
        """The files that a prompt has, each with what it is."""

    @property
    def form(self) -> Form:
        """What a line of its prompts says."""


@dataclass(frozen=True)
class Vocabulary:
    """The words that exist.

    Attributes:
        schemes: The rules of each scheme by backend and scheme.
        templates: The card templates.
        tasks: The rules of each task.
        folders: The backends that make a whole folder of a component, which lies beside no other artifact of it.
    """

    schemes: Mapping[str, Mapping[str, SchemeRules]]
    templates: frozenset[str] = frozenset()
    tasks: Mapping[str, TaskRules] = field(default_factory=dict)
    folders: frozenset[str] = frozenset()

    def task(self, word: str) -> TaskRules | None:
        """Return the rules of the task that a word means, be it misspelt; None where it means none."""
        return self.tasks.get(word) or self.tasks.get(nearest(word, self.tasks))

    def rules(self, backend: str, scheme: str) -> SchemeRules | None:
        """Return the rules of a scheme, or None where the backend has no such scheme."""
        return self.schemes.get(backend, {}).get(scheme)

    def backends_with(self, scheme: str) -> list[str]:
        """List the backends that have a scheme of this name."""
        return [backend for backend, schemes in self.schemes.items() if scheme in schemes]

    def schemes_with(self, option: str) -> list[str]:
        """List the schemes that have an option of this name, each behind its backend; the backend alone if all have."""
        found = list[str]()
        for backend, schemes in self.schemes.items():
            having = [scheme for scheme, rules in schemes.items() if option in rules.options.model_fields]
            whole = len(schemes) > 1 and len(having) == len(schemes)
            found += [backend] if whole else [f"{backend} {scheme}" for scheme in having]
        return found

    @property
    def options(self) -> set[str]:
        """The options of all schemes."""
        every = (rules for schemes in self.schemes.values() for rules in schemes.values())
        return {option for rules in every for option in rules.options.model_fields}
