"""What a choice comes to for the whole source: its files, its weights in memory, and why nothing fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.backends import STREAMING
from pipeline.errors import RecipeError
from pipeline.files import human_size
from pipeline.plan.budget import Candidate, Choice
from pipeline.plan.footprint import Footprint, loaded_size
from pipeline.plan.ladder import Whole
from pipeline.plan.model import Slots, flat
from pipeline.plan.parts import PlannedChoice
from pipeline.recipe import Budget


@dataclass(frozen=True)
class Sizes:
    """What the choice over some components comes to for the whole source.

    Attributes:
        source: Bytes of the source's files.
        slots: The tensors of all its components.
        candidates: What may be done to some of them.
    """

    source: int
    slots: Mapping[str, Slots]
    candidates: Mapping[str, Sequence[Candidate]]

    def limits(self, budget: Budget) -> tuple[float | None, float | None]:
        """Return the bytes in files and in memory that a budget leaves to the components that are chosen for."""
        size = None if budget.size_ratio is None else budget.size_ratio * self.source - self.fixed
        memory = None if budget.memory_bytes is None else budget.memory_bytes - self.fixed_memory
        return size, memory

    @property
    def fixed(self) -> int:
        """Bytes of files that no choice changes."""
        return self.source - sum(parts[0].size for parts in self.candidates.values())

    @property
    def fixed_memory(self) -> int:
        """Bytes in memory that no choice changes."""
        return sum(loaded_bytes(slots) for name, slots in self.slots.items() if name not in self.candidates)

    def weights(self, choice: Choice) -> dict[str, int]:
        """Return the bytes of each component when it is loaded."""
        return {
            name: choice.parts[name].memory if name in choice.parts else loaded_bytes(slots)
            for name, slots in self.slots.items()
        }

    def whole(self, choice: Choice) -> Whole:
        """Return the source with what a choice does to it."""
        told = self.planned(choice)
        return Whole(
            quantized=choice.quantized,
            words=told.components,
            bytes=self.fixed + choice.size,
            weights=self.weights(choice),
            estimated=any(part.backend not in STREAMING for part in choice.quantized.values()),
            sqnr=told.sqnr,
        )

    def in_the_way(self, running: Mapping[str, Sequence[Candidate]], footprint: Footprint, card: int) -> str:
        """Return why a component does not run on a card, whatever is done to it; empty where each does."""
        for name, slots in self.slots.items():
            parts = self.candidates.get(name)
            least = min(part.memory for part in parts) if parts else loaded_bytes(slots)
            if not running.get(name, footprint.needs(name, least) <= card):
                beside = footprint.needs(name, 0)
                return (
                    f"Nothing runs on a card of {human_size(card)}: {name} alone takes {human_size(least + beside)} of "
                    f"it at least, {human_size(beside)} of that reckoned for what this call and CUDA take."
                )
        return ""

    def planned(self, choice: Choice) -> PlannedChoice:
        """Return a choice as the plan tells it."""
        every = sum(max(part.parameters for part in parts) for parts in self.candidates.values())
        return PlannedChoice(
            components={name: part.words for name, part in choice.parts.items() if part.words},
            size_ratio=round((self.fixed + choice.size) / self.source, 4),
            memory_bytes=self.fixed_memory + choice.memory,
            sqnr=choice.sqnr(every),
            rows={name: part.rows for name, part in choice.parts.items() if part.rows},
        )

    def nothing(self, every: Sequence[Choice], target: str, where: str) -> RecipeError:
        """Return the error for a budget that nothing fits."""
        if not every:
            what = f"None of its backends can quantize any component that the budget of {target} leaves open."
            return RecipeError(what, where=where, remedy="Name other components or backends.")
        least = self.planned(min(every, key=lambda choice: (choice.size, choice.memory)))
        return RecipeError(
            f"Nothing fits the budget of {target}. The smallest that can be made has {least.size_ratio} of the "
            f"source's bytes and takes {human_size(least.memory_bytes)} of memory: {in_words(least)}.",
            where=where,
            remedy="Give a larger budget, or name more components or backends.",
        )


def loaded_bytes(slots: Slots) -> int:
    """Return the bytes of a component's tensors when it is loaded in bfloat16."""
    return sum(map(loaded_size, flat(slots).values()))


def in_words(choice: PlannedChoice) -> str:
    """Return a choice in one line."""
    return ", ".join(f"{name} {words}" for name, words in choice.components.items())
