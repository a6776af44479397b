"""What no single value shows: names that clash, components that a library cannot save, prompts that are not there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.recipe import names, prompts
from pipeline.recipe.budget import KEY
from pipeline.recipe.nodes import Mapping, Node, Page, Scalar, Sequence, find, place_of, text_at
from pipeline.recipe.problems import listed, nearest, unknown
from pipeline.recipe.quantization import words_at
from pipeline.recipe.schema import Destination

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.recipe.vocabulary import Vocabulary

MOST_LINES = 5  # faults of a prompts file that are told one by one
TRANSFORMERS = ("text_encoder", "image_encoder", "safety_checker")
WEIGHTLESS = ("tokenizer", "scheduler", "feature_extractor", "image_processor")


@dataclass(frozen=True)
class Check:
    """The checks of one recipe's tree."""

    page: Page
    root: Mapping
    folder: Path
    vocabulary: Vocabulary

    def run(self) -> None:
        """Report everything that the types did not show."""
        self.words()
        self.names()
        self.components()
        self.budgets()
        self.loras()
        self.compiled()
        self.judges()
        self.prompts()

    def words(self) -> None:
        """Report a task or a card template that does not exist."""
        known = {("task",): self.vocabulary.tasks, ("card", "template"): self.vocabulary.templates}
        for path, words in known.items():
            node = find(self.root, *path)
            if isinstance(node, Scalar) and not node.is_null and node.text not in words:
                self.page.report(node.place, *unknown(path[-1], node.text, sorted(words)))

    def names(self) -> None:
        """Report repositories whose names the Hub would refuse or that would be one and the same."""
        template = text_at(self.root, "destination", "name") or Destination.model_fields["name"].default
        repo, folder = text_at(self.root, "source", "repo"), text_at(self.root, "source", "path")
        targets = find(self.root, "targets")
        if not isinstance(targets, Mapping) or not _fits(names.template, template):
            return
        if not (folder or _fits(names.repository, repo)):
            return
        source = repo or folder
        named = [target for target in targets.keys if _fits(names.target, target)]
        for path, text in names.clashes(text_at(self.root, "destination", "namespace"), template, source, named):
            self.page.report(place_of(self.root, path), text)

    def components(self) -> None:
        """Report components that the source does not have, that have no weights, or that a scheme cannot save."""
        libraries = self.libraries()
        targets = find(self.root, "targets")
        for _, target in targets.entries if isinstance(targets, Mapping) else ():
            for key, node in target.entries if isinstance(target, Mapping) and KEY not in target.keys else ():
                if libraries and key.text not in libraries:
                    self.unknown_component(key, libraries)
                elif key.text.startswith(WEIGHTLESS):
                    self.page.report(key.place, f"'{key.text}' has no weights to quantize")
                else:
                    self.refusal(key.text, node, libraries.get(key.text) or library_of(key.text))

    def budgets(self) -> None:
        """Report libraries and components of a budget that are not there."""
        libraries, targets = self.libraries(), find(self.root, "targets")
        for _, target in targets.entries if isinstance(targets, Mapping) else ():
            for word in words_of(target, KEY, "backends"):
                if word.text not in self.vocabulary.schemes:
                    self.page.report(word.place, *unknown("backend", word.text, self.vocabulary.schemes))
            for word in words_of(target, KEY, "components"):
                if libraries and word.text not in libraries:
                    self.unknown_component(word, libraries)
                elif word.text.startswith(WEIGHTLESS):
                    self.page.report(word.place, f"'{word.text}' has no weights to quantize")

    def loras(self) -> None:
        """Report LoRAs of this disk that are not there."""
        nodes = find(self.root, "loras")
        for lora in nodes.items if isinstance(nodes, Sequence) else ():
            path, file = text_at(lora, "path"), text_at(lora, "file")
            fit = _fits(names.path, path) and (not file or _fits(names.weights, file))
            if fit and not (self.folder / path / file).exists():
                self.page.report(place_of(lora, ["path"]), f"there is no {path}{f' with {file} in it' if file else ''}")

    def compiled(self) -> None:
        """Report components to compile that the source does not have."""
        libraries = self.libraries()
        for name in words_of(self.root, "validation", "compile", "components") if libraries else ():
            if name.text not in libraries:
                self.unknown_component(name, libraries)

    def judges(self) -> None:
        """Report judging models on the Hub that no commit pins: the plan would change whenever their ``main`` does.

        What was published says so in its plan, so this is asked of recipes at hand and not of the type.
        """
        bounds = find(self.root, "validation", "require")
        for _, bound in bounds.entries if isinstance(bounds, Mapping) else ():
            model = text_at(bound, "model")
            if (
                isinstance(bound, Mapping)
                and _fits(names.model, model)
                and not (names.is_path(model) or bound.key("revision"))
            ):
                url = f"https://huggingface.co/{model}"
                text = f"no commit pins {model!r}; add revision: and the commit that `git ls-remote {url} HEAD` prints"
                self.page.report(place_of(bound, ["model"]), text)

    def refusal(self, component: str, node: Node, library: str) -> None:
        """Report a component whose library cannot save what the scheme makes of it."""
        backend, scheme = words_at(node)
        rules = self.vocabulary.rules(backend, scheme)
        if rules and (reason := rules.refuses.get(library)):
            place = place_of(node, ["scheme"])
            self.page.report(place, f"{backend} {scheme} cannot be used for '{component}': {reason}")

    def unknown_component(self, key: Scalar, libraries: dict[str, str]) -> None:
        """Report a component that the source's model_index.json does not have."""
        meant = nearest(key.text, libraries)
        rest = "" if meant else f"; it has {listed(sorted(libraries), 'and')}"
        self.page.report(key.place, f"the source has no component {key.text!r}{rest}", meant)

    def libraries(self) -> dict[str, str]:
        """Return the library of each component as the model_index.json of a source in a folder names them."""
        node = find(self.root, "source", "path")
        if not isinstance(node, Scalar) or node.is_null:
            return {}
        try:
            index = self.folder / node.text / "model_index.json"
            content = json.loads(index.read_bytes()) if index.is_file() else {}
        except (OSError, ValueError, RecursionError) as error:
            self.page.report(node.place, f"the source's model_index.json cannot be read ({error})")
            return {}
        if not isinstance(content, dict):
            self.page.report(node.place, "the source's model_index.json is no mapping")
            return {}
        return {name: entry[0] for name, entry in content.items() if _is_component(entry)}

    def prompts(self) -> None:
        """Report what is wrong with the prompts file; the rows of a dataset are not looked at offline."""
        node = find(self.root, "validation", "prompts")
        judged = find(self.root, "validation", "require", "label_accuracy")
        if isinstance(node, Mapping) and judged and "label" not in node.keys:
            self.page.report(node.place, "label_accuracy is required, and 'label' names no column here")
        if not isinstance(node, Scalar) or node.is_null or not node.text.strip() or "://" in node.text:
            return
        task = self.vocabulary.task(text_at(self.root, "task"))
        read, faults = prompts.scan(self.folder / node.text, task.files if task else ())
        unlabelled = sum(prompt.label is None for prompt in read)
        if unlabelled and judged:
            faults = [*faults, f"label_accuracy is required, and {unlabelled} of {len(read)} prompts have no 'label'"]
        for fault in faults[:MOST_LINES]:
            self.page.report(node.place, f"{node.text}: {fault}")
        if len(faults) > MOST_LINES:
            self.page.report(node.place, f"{node.text}: and {len(faults) - MOST_LINES} more lines")


def words_of(node: Node, *path: str) -> list[Scalar]:
    """Return the words of the list that stands under a path of keys; what is no word has been reported as such."""
    found = find(node, *path)
    items = found.items if isinstance(found, Sequence) else ()
    return [item for item in items if isinstance(item, Scalar) and not item.is_null and item.text]


def library_of(component: str) -> str:
    """Return the library whose ``save_pretrained`` writes a component, as far as its name tells."""
    return "transformers" if component.startswith(TRANSFORMERS) else "diffusers"


def _is_component(entry: Any) -> bool:
    """Tell a component's ``[library, class]`` from an absent one (``[null, null]``) and from the pipeline's options."""
    return isinstance(entry, list) and len(entry) == 2 and all(isinstance(part, str) for part in entry)


def _fits(judge: Callable[[str], str], text: str) -> bool:
    """Tell whether a value is one that the types take; where not, the reader has said so."""
    try:
        judge(text)
    except names.UnfitError:
        return False
    return True
