"""What no single value shows: names that clash, components that a library cannot save, prompts that are not there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.recipe import names, prompts
from pipeline.recipe.budget import CARDS, KEY, OPEN, named_twice, step
from pipeline.recipe.nodes import Node, Page, Place, artifacts, every, path_at, path_of, place_of, text_at
from pipeline.recipe.patterns import covered
from pipeline.recipe.problems import listed, nearest, unknown
from pipeline.recipe.schema import Destination

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from pipeline.recipe.vocabulary import Vocabulary

MOST_LINES = 5  # faults of a prompts file that are told one by one
TRANSFORMERS = ("text_encoder", "image_encoder", "safety_checker")
WEIGHTLESS = ("tokenizer", "scheduler", "feature_extractor", "image_processor")


@dataclass(frozen=True)
class Check:
    """The checks of one recipe's tree.

    Attributes:
        defaults: What components begin with, which is no part of the tree.
    """

    page: Page
    root: Node
    vocabulary: Vocabulary
    defaults: Sequence[Node] = ()

    def run(self, folder: Path | None, *, models: bool) -> None:
        """Report everything that the types did not show.

        Args:
            folder: Where the files lie that the recipe names; less is looked at where it lies apart from them.
            models: Whether the folders of its models must be there.
        """
        for node in every(self.root, "task"):
            self.known("task", node, sorted(self.vocabulary.tasks))
        self.names()
        for node in (*self.defaults, *self.quantizations()):
            self.scheme(node)
        for node in self.quantizations():
            self.layers(node)
        self.further()
        if folder is not None:
            self.template()
            self.components(self.libraries(folder))
            self.loras(folder)
            self.judges()
            self.call()
            self.prompts(folder)
            if models:
                self.folders(folder)

    def template(self) -> None:
        """Report a template that is none, or that shows the answers of another task."""
        task, templates = text_at(self.root, "task"), self.vocabulary.templates
        for node in words(self.root, "card", "template"):
            self.known("template", node, sorted(templates))
            if node.text in templates and task in templates and node.text != task:
                self.page.report(node.place, f"the template {node.text} is not that of {task}", task)

    def names(self) -> None:
        """Report repositories whose names the Hub would refuse or that would be one and the same."""
        written = [name.text for name in every(self.root, "destination", "name") if name.is_word]
        template = written[0] if written else Destination.model_fields["name"].default
        repo, folder = text_at(self.root, "source", "repo"), path_at(self.root, "source", "path")
        if _fits(names.template, template) and (folder or _fits(names.repository, repo)):
            owners: dict[str, str] = {}  # the key that stands for each target: its own name, or that of its ladder
            for target in every(self.root, "targets", "*"):
                for name in filter(partial(_fits, names.target), names_of(target)):
                    if name in owners:
                        self.page.report(target.at, named_twice(name))
                    owners[name] = target.name
            namespace = text_at(self.root, "destination", "namespace")
            for path, text in names.clashes(namespace, template, repo or folder, list(owners)) if owners else ():
                self.page.report(place_of(self.root, [owners.get(key, key) for key in path]), text)

    def quantizations(self) -> list[Node]:
        """Return how each target that names its components quantizes each of them, once for each artifact."""
        targets = [target for target in every(self.root, "targets", "*") if not any(every(target, key) for key in OPEN)]
        return [each for target in targets for node in every(target, "*") for each in artifacts(node)]

    def further(self) -> None:
        """Report folders that are to lie behind the first artifact of a component: only single files can."""
        for node in (node for target in every(self.root, "targets", "*") for node in every(target, "*")):
            for each in artifacts(node)[1:]:
                if (backend := text_at(each, "backend")) in self.vocabulary.folders:
                    what = f"{backend} makes a folder, and of a list only the first can be one"
                    self.page.report(each.place, f"{what}; behind it are single files alone")

    def scheme(self, node: Node) -> None:
        """Report a backend that is unknown, or a scheme that this backend does not have."""
        backend, schemes = text_at(node, "backend"), self.vocabulary.schemes
        for word in every(node, "backend"):
            self.known("backend", word, schemes)
        for word in every(node, "scheme"):
            owners = self.vocabulary.backends_with(word.text)
            if backend in schemes and owners and backend not in owners:
                said = f"'{word.text}' is a scheme of {listed(owners, 'and')}, not of {backend}"
                self.page.report(word.place, said, nearest(word.text, schemes[backend]))
            elif not owners:
                kind = f"{backend} scheme" if backend in schemes else "scheme"
                known = schemes.get(backend) or {scheme for owned in schemes.values() for scheme in owned}
                self.known(kind, word, sorted(known))

    def layers(self, node: Node) -> None:
        """Report what is said of layers of which ``keep`` leaves none."""
        kept = [word.text for word in words(node, "keep", "#")]
        for layer in every(node, "layers", "*"):
            if covered(layer.name, kept):
                self.page.report(layer.at, f"keep: leaves no module that {layer.name!r} names; take one of them out")

    def known(self, kind: str, node: Node, known: Collection[str]) -> None:
        """Report a word that is none of those that exist."""
        if node.is_word and node.text not in known:
            self.page.report(node.place, *unknown(kind, node.text, known))

    def components(self, libraries: Mapping[str, str]) -> None:
        """Report components that the source does not have, that have no weights, or that a scheme cannot save."""
        for node in self.quantizations():
            backend, scheme = text_at(node, "backend"), text_at(node, "scheme")
            rules, library = self.vocabulary.rules(backend, scheme), libraries.get(node.name) or library_of(node.name)
            if self.has_weights(node.name, node.at, libraries) and rules and library in rules.refuses:
                said = f"{backend} {scheme} cannot be used for '{node.name}': {rules.refuses[library]}"
                self.page.report(place_of(node, ["scheme"]), said)
        for clause in (*every(self.root, "targets", "*"), *every(self.root, "targets", "*", KEY)):
            for node in words(clause, "backends", "#"):
                self.known("backend", node, self.vocabulary.schemes)
            for node in words(clause, "components", "#"):
                self.has_weights(node.text, node.place, libraries)
            for node in (*every(clause, "keep", "*"), *every(clause, "dtype", "*")):
                self.has_weights(node.name, node.at, libraries)
        for node in words(self.root, "validation", "compile", "components", "#"):
            self.is_there(node.text, node.place, libraries)

    def has_weights(self, component: str, place: Place, libraries: Mapping[str, str]) -> bool:
        """Tell whether a component can be quantized, and report where not."""
        if self.is_there(component, place, libraries) and component.startswith(WEIGHTLESS):
            self.page.report(place, f"'{component}' has no weights to quantize")
            return False
        return True

    def is_there(self, component: str, place: Place, libraries: Mapping[str, str]) -> bool:
        """Tell whether the source has a component as far as that is known, and report where not."""
        if not libraries or component in libraries:
            return True
        meant = nearest(component, libraries)
        rest = "" if meant else f"; it has {listed(sorted(libraries), 'and')}"
        self.page.report(place, f"the source has no component {component!r}{rest}", meant)
        return False

    def loras(self, folder: Path) -> None:
        """Report LoRAs of this disk that are not there."""
        for lora in every(self.root, "loras", "#"):
            path, file = text_at(lora, "path"), text_at(lora, "file")
            fit = _fits(names.path, path) and (not file or _fits(names.weights, file))
            if fit and not (folder / path_at(lora, "path") / file).exists():
                self.page.report(place_of(lora, ["path"]), f"there is no {path}{f' with {file} in it' if file else ''}")

    def judges(self) -> None:
        """Report judging models on the Hub that no commit pins: the plan would change whenever their ``main`` does.

        What was published says so in its plan, so this is asked of recipes at hand and not of the type.
        """
        for bound in every(self.root, "validation", "require", "*"):
            for model in every(bound, "model"):
                on_hub = _fits(names.model, model.text) and not names.is_path(model.text)
                if on_hub and not every(bound, "revision"):
                    self.page.report_unpinned(model)

    def call(self) -> None:
        """Report arguments of a call that come with each prompt."""
        task = self.vocabulary.task(text_at(self.root, "task"))
        for node in every(self.root, "validation", "call", "*"):
            if task and node.name in task.files:
                self.page.report(node.at, f"'{node.name}' cannot be set here: each prompt has its own")

    def folders(self, folder: Path) -> None:
        """Report a source and judging models in folders that are not there."""
        sources = every(self.root, "source", "path")
        judges = [node for node in every(self.root, "validation", "require", "*", "model") if names.is_path(node.text)]
        for node in (*sources, *judges):
            if node.is_word and _fits(names.path, node.text) and not _is_folder(folder / path_of(node)):
                self.page.report(node.place, f"there is no folder {node.text}; make it, or correct its name")

    def libraries(self, folder: Path) -> dict[str, str]:
        """Return the library of each component as the model_index.json of a source in a folder names them."""
        for node in words(self.root, "source", "path"):
            try:
                index = folder / path_of(node) / "model_index.json"
                content = json.loads(index.read_bytes()) if index.is_file() else {}
                return {name: entry[0] for name, entry in content.items() if _is_component(entry)}
            except (OSError, ValueError, RecursionError) as error:
                self.page.report(node.place, f"the source's model_index.json cannot be read ({error})")
            except AttributeError:
                self.page.report(node.place, "the source's model_index.json is no mapping")
        return {}

    def prompts(self, folder: Path) -> None:
        """Report what is wrong with the prompts file; the rows of a dataset are not looked at offline."""
        judged = every(self.root, "validation", "require", "label_accuracy")
        task = self.vocabulary.task(name := text_at(self.root, "task"))
        roles = task.files if task else ()
        for node in every(self.root, "validation", "prompts"):
            if judged and isinstance(node.value, dict) and "label" not in node.value:
                self.page.report(node.place, "label_accuracy is required, and 'label' names no column here")
            if isinstance(node.value, dict) and task:
                columns = {column.name: column for column in every(node, "files", "*")}
                lacking = [role for role in roles if role not in columns]
                strange = [role for role in columns if role not in roles]
                for role in strange:  # each may be meant for one that lacks
                    self.page.report(columns[role].at, *unknown(f"file of {name}", role, lacking or roles))
                if lacking and not strange:
                    wanted = ", ".join(f"{role}: COLUMN" for role in lacking)
                    what = f"a prompt of {name} has further files; name the columns that hold them, files: {{{wanted}}}"
                    self.page.report(place_of(node, ["files"]), what)
            if node.is_word and _fits(names.path, node.text):
                read, faults = prompts.scan(folder / path_of(node), task.form if task else prompts.Form())
                unlabelled = sum(prompt.label is None for prompt in read)
                if unlabelled and judged:
                    which = f"{unlabelled} of {len(read)} prompts have no 'label'"
                    faults.append(f"label_accuracy is required, and {which}")
                if len(faults) > MOST_LINES:
                    faults[MOST_LINES:] = [f"and {len(faults) - MOST_LINES} more lines"]
                for fault in faults:
                    self.page.report(node.place, f"{node.text}: {fault}")


def names_of(target: Node) -> list[str]:
    """Return the names of the targets that an entry stands for: its own, or those of a ladder's steps."""
    cards = [card.text for card in words(target, CARDS, "#") if _fits(names.size, card.text)]
    return list(dict.fromkeys(map(step, cards))) if every(target, CARDS) else [target.name]


def words(node: Node, *path: str) -> list[Node]:
    """Return the words that stand under a path, none of them empty; what is no word has been reported as such."""
    return [found for found in every(node, *path) if found.is_word and found.text]


def library_of(component: str) -> str:
    """Return the library whose ``save_pretrained`` writes a component, as far as its name tells."""
    if component == "model":  # of a source that is one model, which only its config tells
        return ""
    return "transformers" if component.startswith(TRANSFORMERS) else "diffusers"


def _is_component(entry: Any) -> bool:
    """Tell a component's ``[library, class]`` from an absent one (``[null, null]``) and from the pipeline's options."""
    return isinstance(entry, list) and len(entry) == 2 and all(isinstance(part, str) for part in entry)


def _is_folder(path: Path) -> bool:
    """Tell whether there is a folder; a name that no disk takes is none."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _fits(judge: Callable[[str], str], text: str) -> bool:
    """Tell whether a value is one that the types take; where not, the reader has said so."""
    try:
        judge(text)
    except names.UnfitError:
        return False
    return True
