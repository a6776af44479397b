"""Makes plans: reads a source's headers, asks the libraries, and finds what a budget leaves open."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Final

from pipeline.backends import BACKENDS, Loader
from pipeline.backends.available import missing_library
from pipeline.backends.oracle.conversion import (
    CallRequest,
    ConversionRequest,
    Question,
    ask_ahead,
    ask_call,
    installed_versions,
)
from pipeline.errors import CannotHereError, PublishError, QuantizationError, RecipeError, SourceError
from pipeline.files import ListedFile
from pipeline.plan.budget import Candidate, Choice, choices, within
from pipeline.plan.footprint import Footprint, footprint
from pipeline.plan.ladder import Whole, at_once_first, ladder_of
from pipeline.plan.measure import Measured, Sample
from pipeline.plan.model import (
    PlannedComponent,
    ResolvedComponent,
    Slots,
    SourceModel,
    TargetPlan,
    deciding_packages,
    form_of,
    question_of,
    resolve,
    scheme_of,
    unfit,
)
from pipeline.plan.parts import (
    PlannedBudget,
    PlannedLadder,
    PlannedLora,
    PlannedPrompts,
    PlannedSource,
    PlannedValidation,
)
from pipeline.plan.sizes import Sizes, loaded_bytes
from pipeline.recipe import Budget, InvalidRecipe, Loaded, Quantization, place_of_target, problem_at
from pipeline.recipe.problems import listed, nearest
from pipeline.source.layout import Component, Layout, Place, read_slots
from pipeline.source.model_card import repeated_fields
from pipeline.tasks import TASKS

LINEAR_LEAST: Final = 0.1  # share of a component's parameters that a scheme takes where a budget takes it unasked
DIFFUSERS: Final = "diffusers"
LIBRARIES: Final = (DIFFUSERS, "transformers")  # whose components can be quantized


@dataclass(frozen=True)
class Planner:
    """Makes the plans of a recipe's targets.

    Attributes:
        loaded: The recipe.
        place: Where its source lies.
        judges: The commit, or the digest of the files, of each model that judges, by metric.
        answers: The folder that keeps what libraries said.
        templates: The digest of each card template.
        prompts: The questions that the recipe asks.
        loras: The LoRAs of the recipe, each pinned to its file.
        slots: The tensors of each component, once they were read.
        questions: What is asked by component and quantization, once it was put together: a config is a request to the
            Hub.
        found: What was found for the budget of a target, with what it does to each component.
        considered: What may be done to each component, by what a budget says beside its limits.
    """

    loaded: Loaded
    place: Place
    judges: Mapping[str, str]
    answers: Path
    templates: Mapping[str, str]
    prompts: PlannedPrompts
    loras: tuple[PlannedLora, ...] = ()
    slots: dict[str, Slots] = field(default_factory=dict)
    questions: dict[tuple[str, str], ConversionRequest] = field(default_factory=dict)
    found: dict[str, tuple[PlannedBudget, Mapping[str, Quantization]]] = field(default_factory=dict)
    considered: dict[str, dict[str, list[Candidate]]] = field(default_factory=dict)

    @cached_property
    def layout(self) -> Layout:
        """The source's components and files."""
        return TASKS[self.loaded.recipe.task].layout(self.place, self.loaded.recipe.source.variant)

    @cached_property
    def files(self) -> dict[str, ListedFile]:
        """The source's files that are published or quantized, with their digests."""
        return self.place.listed(self.layout.wanted)

    def plan(self, target: str) -> TargetPlan:
        """Resolve one target.

        Raises:
            RecipeError: The target does not fit the source.
            SourceError: The source is not what it should be.
        """
        recipe, layout = self.loaded.recipe, self.layout
        budget, wanted = self.schemes(target)
        components = {name: self.consult(name, quantization).planned() for name, quantization in wanted.items()}
        files, source_bytes = self.files, self.source_bytes
        change = sum(part.result_bytes - part.source_bytes for part in components.values())
        further = self.further(target, components)
        made = [*components.values(), *chain.from_iterable(further.values())]
        deciding = deciding_packages(made, recipe.task, adapted=bool(self.loras))
        return TargetPlan(
            target=target,
            task=recipe.task,
            repository=recipe.repositories[target],
            private=recipe.destination.private,
            pipeline=layout.class_name,
            source=PlannedSource(**recipe.source.model_dump()),
            files=files,
            source_card=self.source_card,
            components=components,
            further=further,
            budget=budget,
            ladder=self.ladder if budget and budget.asked.card else None,
            loras=self.loras,
            build=recipe.build,
            validation=self.validation,
            template=recipe.card.template,
            template_digest=self.templates[recipe.card.template],
            source_bytes=source_bytes,
            result_bytes=source_bytes + change,
            versions=installed_versions(deciding),
        )

    def further(
        self, target: str, components: Mapping[str, PlannedComponent]
    ) -> dict[str, tuple[PlannedComponent, ...]]:
        """Return the further artifacts of a target's components.

        Raises:
            RecipeError: One is no file by itself, beside which others can lie.
        """
        found: dict[str, tuple[PlannedComponent, ...]] = {}
        for name, several in self.loaded.recipe.further(target).items():
            files = {components[name].file}
            for quantization in several:
                part = self.consult(name, quantization).planned()
                if not part.file or part.file in files or form_of(part.library, quantization).config:
                    what = f"{quantization.words} of {name} cannot lie beside what the recipe names before it"
                    why = f"both would be {part.file}" if part.file in files - {""} else "it is the folder itself"
                    remedy = "Name what from_pretrained loads first, and after it only single files of other names."
                    raise RecipeError(f"{what}: {why}.", where=place_of_target(self.loaded, target), remedy=remedy)
                files.add(part.file)
                found[name] = (*found.get(name, ()), part)
        return found

    @property
    def source_bytes(self) -> int:
        """Bytes of the source's files that are published or quantized."""
        return sum(self.place.files[name].size for name in self.layout.wanted)

    def ask_ahead(self, targets: Iterable[str]) -> None:
        """Ask the libraries about the call and all components of these targets at once, and all a budget may choose.

        What cannot be asked is left for the plan of its target to tell, so that it keeps no other target from its own.
        """
        recipe, called, there = self.loaded.recipe, self.called, self.layout.components
        questions: list[Question] = [called] if called else []
        for target in targets:
            budget = recipe.budget(target)
            with suppress(RecipeError, CannotHereError, SourceError):
                wanted = self.options(budget) if budget else pairs(recipe.artifacts(target))
                questions += [self.question(*pair) for pair in wanted if pair[0] in there]
        ask_ahead(questions, self.answers)

    def schemes(self, target: str) -> tuple[PlannedBudget | None, Mapping[str, Quantization]]:
        """Return what is done to each component of a target, and the budget that it was found for.

        Raises:
            RecipeError: Nothing fits the budget.
            CannotHereError: A library to choose from is not installed.
        """
        budget = self.loaded.recipe.budget(target)
        if budget is None:
            return None, self.loaded.recipe.named(target)
        if target not in self.found:
            self.require_libraries(budget, target)
            self.ask_ahead([target])
            self.found[target] = self.find(budget, target)
        return self.found[target]

    def find(self, budget: Budget, target: str) -> tuple[PlannedBudget, Mapping[str, Quantization]]:
        """Find what keeps most within a budget.

        Raises:
            RecipeError: Nothing fits it.
        """
        sizes, best = self.for_cards[target] if budget.card else self.choose(budget, target)
        told = [sizes.planned(choice) for choice in best[:2]]
        next_best = told[1] if len(told) > 1 else None
        return PlannedBudget(asked=budget, found=told[0], runner_up=next_best), best[0].quantized

    @cached_property
    def for_cards(self) -> dict[str, tuple[Sizes, list[Choice]]]:
        """What is chosen for each card, searched for once.

        Raises:
            RecipeError: Nothing that can be made runs on some of them.
            CannotHereError: A library to choose from is not installed.
        """
        budgets, refused = self.loaded.recipe.for_cards, dict[str, str]()
        for target, budget in budgets.items():
            self.require_libraries(budget, target)
        self.ask_ahead(budgets)
        for target, budget in budgets.items():
            candidates, card = self.candidates(budget), budget.card_bytes or 0
            sizes = Sizes(self.source_bytes, self.read_all(), candidates)
            if why := sizes.in_the_way(self.footprint.running(candidates, card), self.footprint, card):
                refused[target] = why
        if refused:
            which = "this card" if len(refused) == 1 else "these cards"
            remedy = f"Leave {which} out, draw less in `call:`, or name more components or backends."
            where = place_of_target(self.loaded, next(iter(refused)))
            raise RecipeError(" ".join(refused.values()), where=where, remedy=remedy)
        return {target: self.choose(budget, target) for target, budget in budgets.items()}

    def choose(self, budget: Budget, target: str) -> tuple[Sizes, list[Choice]]:
        """Return everything that is within a budget, the best first, and what it comes to.

        Raises:
            RecipeError: Nothing is.
        """
        candidates, card = self.candidates(budget), budget.card_bytes
        sizes = Sizes(self.source_bytes, self.read_all(), candidates)
        if card is not None:
            candidates = self.footprint.running(candidates, card)
        every = choices(candidates)
        best = within(every, *sizes.limits(budget))
        if not best:
            raise sizes.nothing(every, target, place_of_target(self.loaded, target))
        if card is not None:
            best = at_once_first(best, card, lambda choice: self.footprint.memory(sizes.weights(choice))["none"].total)
        return sizes, best

    @cached_property
    def ladder(self) -> PlannedLadder:
        """What the recipe has for each card.

        Raises:
            RecipeError: Nothing that can be made runs on one of them.
        """
        recipe = self.loaded.recipe
        found = {target: sizes.whole(best[0]) for target, (sizes, best) in self.for_cards.items()}
        weights = {name: loaded_bytes(slots) for name, slots in self.read_all().items()}
        source = Whole({}, {}, self.source_bytes, weights)
        return ladder_of(recipe.for_cards, found, source, self.footprint, recipe.repositories, recipe.source.origin)

    @cached_property
    def footprint(self) -> Footprint:
        """What the components take of a card beside their weights, as the recipe calls them."""
        parts = {name: part for name, part in self.layout.components.items() if part.weights}
        recipe = self.loaded.recipe
        return footprint(self.place, parts, self.read_all(), recipe.validation.call, recipe.task)

    def require_libraries(self, budget: Budget, target: str) -> None:
        """Refuse a budget whose libraries are not all here: without one of them something else would be found.

        Raises:
            CannotHereError: One is not installed.
        """
        for name in searched(budget.backends):
            if missing := missing_library(BACKENDS[name]):
                remedy = (
                    f"Install it with pip install 'quantpress[{BACKENDS[name].EXTRA}]', or name those that are to be "
                    "chosen from under 'backends:'."
                )
                what = f"The schemes of {target} are searched for in {name}, for which {missing} is not installed."
                raise CannotHereError(what, where=place_of_target(self.loaded, target), remedy=remedy)

    def options(self, budget: Budget) -> Iterator[tuple[str, Quantization]]:
        """Return everything that a budget may do to a component: each scheme that any machine can make and save.

        Raises:
            RecipeError: The source has no component that the budget names.
        """
        for name in budget.components:
            self.require_component(name)
        for name, component in self.layout.components.items():
            if component.weights and name in (budget.components or self.layout.components):
                for quantization in schemes_of(budget.backends):
                    loads = component.root or form_of(component.library, quantization).config
                    if component.library in LIBRARIES and loads and not unfit(component.library, quantization):
                        yield name, quantization.model_copy(update=budget.words(name))

    def candidates(self, budget: Budget) -> dict[str, list[Candidate]]:
        """Return what may be done to each component, and what comes of it.

        What a library refuses is left out, and a scheme that fails at rows that were looked at.

        Raises:
            RecipeError: Nothing can be done to a component with what is to be kept of it.
        """
        key = budget.model_dump_json(exclude={"size_ratio", "memory", "card"})
        if (known := self.considered.get(key)) is not None:
            return known
        found: dict[str, list[Candidate]] = {}
        refused: dict[str, PublishError] = {}
        sample = Sample(self.place, self.files, self.answers)
        for name, quantization in self.options(budget):
            try:
                resolved = self.consult(name, quantization)
            except (RecipeError, QuantizationError) as error:
                refused[name] = error
                continue
            planned = resolved.planned()
            if name in budget.components or linear_enough(planned):
                measured = sample.measure(resolved)
                if not measured.spoiled:
                    stays = Candidate(None, planned.source_bytes, loaded_bytes(self.slots[name]))
                    found.setdefault(name, [stays]).append(candidate_of(planned, measured))
        for name in refused.keys() & budget.keep.keys() - found.keys():
            raise refused[name]
        self.considered[key] = found
        return found

    def read_all(self) -> dict[str, Slots]:
        """Return the tensors of all components."""
        return {name: self.read(part) for name, part in self.layout.components.items() if part.weights}

    def read(self, component: Component) -> Slots:
        """Return the tensors of a component."""
        if component.name not in self.slots:
            self.slots[component.name] = read_slots(self.place, component)
        return self.slots[component.name]

    def require_component(self, name: str) -> Component:
        """Return a component of the source.

        Raises:
            RecipeError: It has no such component.
        """
        if name not in self.layout.components:
            known = ", ".join(self.layout.components)
            reason = f"The source has no component {name!r}."
            raise RecipeError(reason, where=self.place.where, remedy=f"It has {known}.")
        return self.layout.components[name]

    def question(self, name: str, quantization: Quantization) -> ConversionRequest:
        """Return what is asked about a component and what is to be done to it.

        Raises:
            RecipeError: The source has no such component, or it cannot be quantized.
        """
        component, key = self.require_component(name), (name, quantization.model_dump_json())
        if key not in self.questions:
            self.questions[key] = question_of(self.place, component, quantization, self.read(component))
        return self.questions[key]

    def consult(self, name: str, quantization: Quantization) -> ResolvedComponent:
        """Ask about a component and lay out what it becomes.

        Raises:
            RecipeError: The component or its ``keep`` does not fit.
            SourceError: Its tensors are not those of its class.
        """
        question, component = self.question(name, quantization), self.layout.components[name]
        source = SourceModel(self.place, self.loaded.recipe.model_name)
        return resolve(question, component, quantization, self.slots[name], self.answers, source)

    @cached_property
    def source_card(self) -> dict[str, str | list[str]]:
        """What the cards of all targets repeat of the source's."""
        return repeated_fields(self.place)

    @cached_property
    def validation(self) -> PlannedValidation:
        """The validation with its prompts read and its judges pinned.

        Raises:
            InvalidRecipe: It calls the pipeline with what that does not take.
            RecipeError: It compiles a component that the source does not have.
        """
        written = self.loaded.recipe.validation
        self.require_taken()
        for name in written.compile.components if written.compile else ():
            self.require_component(name)
        return PlannedValidation(
            prompts=self.prompts.prompts,
            dataset=self.prompts.dataset,
            seeds=written.seeds,
            call=written.model_dump(mode="json")["call"],
            require=written.require.model_dump(mode="json", exclude_none=True),
            judges=dict(self.judges),
            compile=written.compile,
            device=written.device,
            browser=written.browser,
        )

    @property
    def called(self) -> CallRequest | None:
        """What is asked about the pipeline's call; nothing where its task knows all that a recipe may say of one."""
        task = TASKS[self.loaded.recipe.task]
        if task.library != DIFFUSERS or not self.loaded.recipe.validation.call:
            return None
        return CallRequest(loader=task.loader, class_name=self.layout.class_name)

    def require_taken(self) -> None:
        """Refuse arguments that the source's call does not take.

        Raises:
            InvalidRecipe: With all of them.
        """
        problems = [
            problem_at(self.loaded, ("validation", "call", name, "[key]"), text, meant)
            for name, text, meant in self.untaken()
        ]
        if problems:
            raise InvalidRecipe(problems, str(self.loaded.path))

    def untaken(self) -> Iterator[tuple[str, str, str]]:
        """Yield arguments that the call does not take, each with the reason and the word that is likely meant."""
        call = self.loaded.recipe.validation.call
        for name, why in TASKS[self.loaded.recipe.task].untaken(self.place, call).items():
            yield name, f"{self.layout.class_name} takes no {name!r}: {why}", ""
        if self.called is None:
            return
        known = ask_call(self.called, self.answers, self.place.where)
        for name in call.keys() - {*known.takes}:
            meant = nearest(name, known.takes)
            rest = "" if meant else f"; it takes {listed(known.takes, 'and')}"
            yield name, f"{known.class_name} takes no {name!r}{rest}", meant


def pairs(artifacts: Mapping[str, Sequence[Quantization]]) -> Iterator[tuple[str, Quantization]]:
    """Yield each artifact with its component."""
    yield from ((name, each) for name, several in artifacts.items() for each in several)


def searched(backends: Sequence[str]) -> list[str]:
    """Return the libraries that a budget chooses from: those that it names, else all that ``from_pretrained`` loads."""
    plain = [name for name, one in BACKENDS.items() if all(map(plainly, one.LOADERS.values()))]
    return [name for name in BACKENDS if name in (backends or plain)]


def plainly(loader: Loader) -> bool:
    """Return whether ``from_pretrained`` alone loads what a backend made."""
    return loader.form.config and not loader.part


def schemes_of(backends: Sequence[str]) -> Iterator[Quantization]:
    """Return every scheme that any machine can make, with the defaults of its options.

    They are the same wherever a plan is made; what needs a CUDA device is made where its name is written.
    """
    for name in searched(backends):
        for word, scheme in BACKENDS[name].SCHEMES.items():
            if scheme.makes_on == "cpu":
                yield Quantization(backend=name, scheme=word, options=scheme.options().model_dump(mode="json"))


def candidate_of(planned: PlannedComponent, measured: Measured) -> Candidate:
    """Return what a scheme makes of a component, for the choice; of normal weights where nothing was measured."""
    size, scheme = planned.result_bytes, scheme_of(planned.quantization)
    sqnr = scheme.sqnr if measured.sqnr is None else measured.sqnr
    return Candidate(planned.quantization, size, size, planned.parameters, sqnr, measured.rows)


def linear_enough(planned: PlannedComponent) -> bool:
    """Tell a component that is made of Linear layers from one that has a few, such as a VAE, where they save little."""
    return planned.parameters >= LINEAR_LEAST * (planned.parameters + planned.parameters_left)
