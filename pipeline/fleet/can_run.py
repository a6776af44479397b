"""Can it run: what a published repository needs, held against this machine or against another card."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from packaging.version import InvalidVersion, Version

from pipeline.backends.available import Card, card, has_gpu, installed
from pipeline.files import human_size
from pipeline.fleet.machine import Remark, free_memory
from pipeline.fleet.memory import HOW, Mode, Room, modes
from pipeline.fleet.needs import Needs
from pipeline.plan.parts import LadderStep

REFERENCE: Final = "its publisher tried it with"


@dataclass(frozen=True)
class Machine:
    """What is to run a model.

    Attributes:
        room: Its card and its memory.
        disk: Bytes that are free where the Hub's client keeps what it downloads; None for another machine.
        idle: The card that is here and that the torch which is installed cannot use.
    """

    room: Room
    disk: int | None = None
    idle: Card | None = None

    @classmethod
    def here(cls) -> Machine:
        """Look at this machine."""
        found = card()
        usable = found if has_gpu() or not installed("torch") else None
        place = next(folder for folder in (cache(), *cache().parents) if folder.is_dir())
        return cls(Room(usable, free_memory()), shutil.disk_usage(place).free, None if usable else found)

    @classmethod
    def another(cls, memory: int) -> Machine:
        """Return a machine of which nothing is known but how many bytes its CUDA device has."""
        return cls(Room(Card("cuda", memory), None))

    @classmethod
    def without_card(cls, memory: int) -> Machine:
        """Return a machine of which nothing is known but how many bytes its processor has."""
        return cls(Room(None, memory))

    @property
    def ours(self) -> bool:
        """Whether it is this one, whose disk and libraries can be looked at."""
        return self.disk is not None

    @property
    def card_memory(self) -> int:
        """Bytes of its card."""
        return self.room.card.memory or 0 if self.room.card else 0

    @property
    def where(self) -> str:
        """Which machine it is, in words."""
        if self.ours:
            return "here"
        if self.room.card:
            return f"on a card of {human_size(self.card_memory)}"
        return f"within {human_size(self.room.memory or 0)} of memory"


@dataclass(frozen=True)
class Fit:
    """A repository held against a machine."""

    needs: Needs
    machine: Machine

    @cached_property
    def modes(self) -> list[Mode]:
        """The ways to run it, the fastest first; of another machine's card those that it is asked for."""
        found, asked = modes(self.needs, self.machine.room), not self.machine.ours and self.machine.room.card
        return [mode for mode in found if mode.name != "cpu"] if asked else found

    @cached_property
    def mode(self) -> Mode | None:
        """The way to run it here; None where there is none."""
        return next((mode for mode in self.modes if not mode.lacks), None)

    @cached_property
    def remarks(self) -> list[Remark]:
        """Everything that was looked at, each with what to do."""
        found = [self.promise(), *self.withdrawn(), *self.unknown(), *self.libraries()]
        return [*found, *self.of_torch(), *self.of_disk(), self.weights(), self.of_memory()]

    @property
    def runs(self) -> bool:
        """Whether nothing is in the way."""
        return all(remark.level != "problem" for remark in self.remarks)

    @property
    def verdict(self) -> str:
        """The answer in one paragraph: how to run it, or why not and what to do next."""
        needs, on = self.needs, self.machine.where
        name = f"{needs.repository}@{needs.commit[:12]}"
        if self.runs and self.mode:
            loaded = f", loaded with dtype=torch.{needs.dtype}" if needs.dtype else ""
            return f"{name} runs {on} {HOW[self.mode.name]}{loaded}: {self.mode.line}"
        first = next(remark for remark in self.remarks if remark.level == "problem")
        return f"{name} does not run {on}: {first.text}. {first.remedy}"

    def json(self) -> dict[str, Any]:
        """Return the answer for programs."""
        return {
            "repository": self.needs.repository,
            "commit": self.needs.commit,
            "promised": self.needs.plan is not None,
            "runs": self.runs,
            "mode": asdict(self.mode) if self.runs and self.mode else None,
            "modes": [asdict(mode) for mode in self.modes],
            "dtype": self.needs.dtype or None,
            "weights_bytes": self.needs.weights,
            "activations_bytes": self.needs.activations,
            "download_bytes": sum(self.needs.files.values()),
            "components": {name: part.size for name, part in self.needs.parts.items()},
            "remarks": [asdict(remark) for remark in self.remarks],
            "verdict": self.verdict,
        }

    def promise(self) -> Remark:
        """Say who promises what of it."""
        if self.needs.plan:
            versions = ", ".join(f"{name} {found}" for name, found in self.needs.plan.versions.items())
            return Remark("ok", "plan", f"published by quantpress, and judged with {versions}")
        text = "it has no publish/plan.json that this version reads: nothing was promised of it"
        return Remark("warning", "plan", text, "Try it before you rely on it; what follows is from its headers.")

    def withdrawn(self) -> Iterator[Remark]:
        """Say that it is not to be used any more."""
        if found := self.needs.withdrawn:
            other = found.new_version
            remedy = f"Run `publish can-i-run {other}`." if other else "Look at its card for what to use instead."
            yield Remark("warning", "withdrawn", f"its publisher withdrew it: {found.why.rstrip('.')}", remedy)

    def unknown(self) -> Iterator[Remark]:
        """Name methods of quantization of which nothing is known here."""
        for method in self.needs.unknown:
            text = f"a component is quantized by {method!r}, of which nothing is known here"
            remedy = "Look up what that needs; its weights are counted as they are stored."
            yield Remark("warning", "quantization", text, remedy)

    def libraries(self) -> Iterator[Remark]:
        """Say of each library whether it is installed, and as new as the one that the checkpoint was made with."""
        for name, made in self.needs.distributions.items() if self.machine.ours else ():
            try:
                here = version(name)
            except PackageNotFoundError:
                yield Remark("problem", name, f"{name} is not installed", f"Run `pip install {name}`.")
                continue
            if made and is_older(here, made):
                text = f"{name} {here} is installed, and {REFERENCE} {made}"
                yield Remark("warning", name, text, f"If it does not load, run `pip install --upgrade {name}`.")
            else:
                yield Remark("ok", name, f"{name} {here}" + (f"; {REFERENCE} {made}" if made else ""))

    def of_torch(self) -> Iterator[Remark]:
        """Say that the card of this machine lies idle."""
        if found := self.machine.idle:
            text = f"there is a {found.kind} device, and the torch that is installed was built without it"
            yield Remark("warning", "gpu", text, "Install a build of torch for it: https://pytorch.org/get-started.")

    def of_disk(self) -> Iterator[Remark]:
        """Compare the room for downloads with what is yet to be downloaded."""
        if self.machine.disk is None:
            return
        wanted, free = to_download(self.needs), human_size(self.machine.disk)
        text = f"{human_size(wanted)} to download, and {free} free in {cache()}"
        if wanted > self.machine.disk:
            yield Remark("problem", "disk", text, "Free some room, or set HF_HOME to a folder on another disk.")
        else:
            yield Remark("ok", "disk", text)

    def weights(self) -> Remark:
        """Say what its memory is taken by."""
        parts = ", ".join(f"{name} {human_size(part.size)}" for name, part in self.needs.parts.items())
        beside = self.needs.activations
        more = f", and about {human_size(beside)} beside them for one answer" if beside else ""
        how = f" with dtype=torch.{self.needs.dtype}" if self.needs.dtype else ""
        what = "of graphs" if self.needs.line else f"when they are loaded{how}"
        return Remark("ok", "weights", f"{human_size(self.needs.weights)} {what} ({parts}){more}")

    def of_memory(self) -> Remark:
        """Say how it is run best, or why it cannot be."""
        if not self.modes:
            remedy = f"Ask for a processor: `publish can-i-run {self.needs.repository} --memory 4GB --cpu`."
            return Remark("problem", "memory", "it is run by the processor, and was tried on no card", remedy)
        if self.mode is None:
            least = min(self.modes, key=lambda mode: mode.device_bytes or mode.memory_bytes)
            return Remark("problem", "memory", f"at least {least.words}", self.instead())
        card_of = self.machine.room.card
        if card_of and card_of.memory is None and self.mode.name != "cpu":
            remedy = "Give its memory with --memory, such as --memory 16GB."
            return Remark("warning", "memory", f"{self.mode.words}; how much this device has is not told", remedy)
        return Remark("ok", "memory", self.mode.words)

    def instead(self) -> str:
        """Say what to do where it does not run."""
        asked = "" if self.machine.ours else f" --memory {self.machine.card_memory}B"
        if self.machine.ours and not self.machine.room.card and "cpu" not in self.needs.devices:
            return f"Ask for the card of another machine: `publish can-i-run {self.needs.repository} --memory 12GB`."
        if step := self.sibling():
            return f"Choose {step.repository}, which is for {step.card}: `publish can-i-run {step.repository}{asked}`."
        why = "No smaller sibling of it is known"
        if plan := self.needs.plan:
            none = "No sibling of its ladder is small enough"
            why = none if plan.ladder else "Its plan is of no ladder, so no smaller sibling is known"
        return f"{why}; `publish advise --for memory` says how to make a smaller one."

    def sibling(self) -> LadderStep | None:
        """Return the largest of its ladder that runs on this card; None where none does or there is no ladder."""
        steps = self.needs.plan.ladder.steps if self.needs.plan and self.needs.plan.ladder else ()
        fitting = [
            step
            for step in steps
            if step.published
            and step.repository != self.needs.repository
            and step.memory[step.offload].total <= self.machine.card_memory
        ]
        return fitting[-1] if fitting else None


def is_older(here: str, made: str) -> bool:
    """Return whether a version comes before another; one that is none, as somebody's plan may have, is not compared."""
    try:
        return Version(here).release < Version(made).release
    except InvalidVersion:
        return False


def to_download(needs: Needs) -> int:
    """Return the bytes of the files that the Hub's client has not downloaded yet."""
    from huggingface_hub.file_download import repo_folder_name

    there = cache() / repo_folder_name(repo_id=needs.repository, repo_type="model") / "snapshots" / needs.commit
    return sum(size for name, size in needs.files.items() if not (there / name).is_file())


def cache() -> Path:
    """Return the folder where the Hub's client keeps what it downloads."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)
