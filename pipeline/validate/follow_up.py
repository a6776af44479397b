"""Uses: what users do next with a target, tried as its plan says; the source's part is done once for all targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from pipeline.backends import loaders
from pipeline.backends.oracle.conversion import installed_versions
from pipeline.events import Event, Listener
from pipeline.files import digest_of, pretty_json, write_atomically
from pipeline.plan.loras import FoundLora
from pipeline.plan.model import TargetPlan
from pipeline.plan.parts import PlannedLora
from pipeline.plan.questions import questions_folder
from pipeline.quantize.lora.adapters import Adapter, try_on
from pipeline.source.layout import Folder, read_layout
from pipeline.store import Store
from pipeline.tasks.answers import Request
from pipeline.validate.browser.asking import answers_in_browser, ask_in_browser
from pipeline.validate.browser.judging import judge_in_browser
from pipeline.validate.browser.scripts import KEY, scripts
from pipeline.validate.compatibility import Compilation, Lora, SmallDevice, Uses, ask_with_lora, few, try_uses
from pipeline.validate.compatibility.snippet import judge_snippet, try_snippet
from pipeline.validate.report import CompatibilityCheck
from pipeline.validate.stage import ask_both, prompts_of, resolved_requirements, side

ADAPTED: Final = "adapted"  # the source's answers with a LoRA and without
USES: Final = "uses"
FOUND: Final = "uses.json"
LINES: Final = TypeAdapter(tuple[CompatibilityCheck, ...])
DECIDING: Final = ("quantpress", "torch", "diffusers", "transformers", "peft")


@dataclass(frozen=True)
class FollowUpChecks:
    """What users do next, and what it is tried with.

    Attributes:
        plan: The target's plan, with the LoRAs that are loaded and the components that are compiled.
        loras: All LoRAs of the recipe, where they were found.
        request: The questions of the validation, of which a few are asked.
        store: Where the source's answers are kept.
        listen: Hears one event an answer.
        snippet: The card's snippet, which is tried where it does without something that judging takes.
    """

    plan: TargetPlan
    loras: Sequence[FoundLora]
    request: Request
    store: Store
    listen: Listener
    snippet: str = ""

    def try_all(self, source: Path, checkpoint: Path) -> tuple[CompatibilityCheck, ...]:
        """Try everything on a checkpoint, or return what was tried before.

        Args:
            source: The folder of the source; not looked at where `source_is_known`.
            checkpoint: The folder of the checkpoint.

        Raises:
            RecipeError: The source itself does not take a LoRA.
            SourceError: A LoRA is not the one that was pinned.
            HubUnavailableError: A LoRA does not come.
            CannotHereError: A library is missing, or the memory did not suffice.
            GenerationError: The checkpoint does not load, or does not answer.
        """
        in_browser = self.plan.validation.browser is not None and answers_in_browser(self.request, checkpoint)
        if not (self.plan.loaded or self.compilations or self.device or self.spared or in_browser):
            return ()

        def build(out: Path) -> None:
            loaded = tuple(self.lora(lora, source) for lora in self.loras if lora.planned.how == "loaded")
            device = None if self.spared else self.device
            uses = Uses(loras=loaded, compilations=self.compilations, device=device)
            found = try_uses(uses, source, checkpoint, self.request, out, self.hear)
            if self.spared:
                found = (*found, self.by_snippet(checkpoint, out / "snippet"))
            if in_browser:
                found = (*found, self.in_browser(source, checkpoint, out / "browser"))
            write_atomically(out / FOUND, pretty_json(LINES.dump_python(found, mode="json")))

        return LINES.validate_json((self.store.make(USES, self.tried_key, build) / FOUND).read_bytes())

    @property
    def spared(self) -> tuple[str, ...]:
        """Packages that judging takes and that the card's snippet does without."""
        parts = self.plan.components.values()
        known = loaders((part.library, part.quantization.backend) for part in parts)
        return next((loader.spares for loader in known if loader.spares), ())

    def by_snippet(self, checkpoint: Path, out: Path) -> CompatibilityCheck:
        """Run the card's snippet without what it spares, within the limits of the device where there is one."""
        questions = questions_folder(self.plan.validation, self.store)
        repo, spared = self.plan.repository, self.spared
        return judge_snippet(
            try_snippet(self.snippet, repo, checkpoint, questions, spared, out, self.device), spared, self.device
        )

    def in_browser(self, source: Path, checkpoint: Path, out: Path) -> CompatibilityCheck:
        """Have a browser answer some of the questions, and judge its answers among the checkpoint's own."""
        wanted, plan = self.plan.validation.browser, self.plan
        few_asked = self.request.only(wanted.questions if wanted else 0, 1)
        tried = ask_in_browser(checkpoint, plan.repository, few_asked, scripts(self.store), out, self.hear)
        reference, candidate = map(side, ask_both(plan, source, checkpoint, self.store, self.listen))
        answered = candidate.with_answers(tried.given, out)
        require = resolved_requirements(plan.validation.require, {})
        return judge_in_browser(tried, answered, (reference, candidate), prompts_of(plan.validation), require)

    @property
    def tried_key(self) -> str:
        """The digest of what the lines depend on."""
        tried = [self.key(lora) for lora in self.plan.loaded]
        compiled = [wanted.model_dump(mode="json") for wanted in self.compilations]
        asked = few(self.request).model_dump(mode="json")
        known = [self.plan.build_key, tried, compiled, asked, installed_versions(DECIDING)]
        if self.spared:
            known.append(self.snippet)
        if self.device:
            known.append(self.device.model_dump(mode="json"))
        if self.plan.validation.browser:
            known += [self.plan.validation.model_dump(mode="json"), KEY]
        return digest_of(known)

    @property
    def compilations(self) -> tuple[Compilation, ...]:
        """What is compiled."""
        wanted = self.plan.validation.compile
        if wanted is None:
            return ()
        return tuple(
            Compilation(component=name, fullgraph=wanted.fullgraph, mode=wanted.mode) for name in wanted.components
        )

    @property
    def device(self) -> SmallDevice | None:
        """The device that it is confined to."""
        wanted = self.plan.validation.device
        return SmallDevice(memory=wanted.memory_bytes, threads=wanted.threads) if wanted else None

    def lora(self, found: FoundLora, source: Path) -> Lora:
        """Return a LoRA with the source's answers, asking for them where they are not known."""
        pinned = found.planned
        file = found.local(self.store, self.listen)
        lora = Lora(name=pinned.name, file=file, scale=pinned.scale)

        def ask(out: Path) -> None:
            place = Folder(source)
            try_on(place, read_layout(place), (Adapter(file=str(file), scale=pinned.scale, where=pinned.where),))
            ask_with_lora(source, lora, self.request, out, self.hear)

        return lora.model_copy(update={"reference": self.store.make(ADAPTED, self.key(pinned), ask)})

    def source_is_known(self) -> bool:
        """Return whether the source was asked before with every LoRA that is loaded."""
        return all(self.store.look(ADAPTED, self.key(lora)) for lora in self.plan.loaded)

    def key(self, lora: PlannedLora) -> str:
        """Return the digest of what the source's answers with a LoRA depend on."""
        asked = few(self.request).model_dump(mode="json")
        return digest_of([self.plan.source_content, lora.model_dump(mode="json"), installed_versions(DECIDING), asked])

    def hear(self, event: Event) -> None:
        """Pass an event on with the target's name."""
        text = f"tries {event.subject}"
        self.listen(Event("progress", "validate", self.plan.target, text, event.done, event.total, event.unit))
