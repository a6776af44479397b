"""The names a recipe may write: repositories of the Hub, commits, targets, components, paths."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pipeline.recipe.addresses import pasted

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST_NAME = 96  # characters of a repository's name, as huggingface_hub's validate_repo_id has it
COMMIT = r"[0-9a-f]{40}"
TARGET = r"[a-z0-9][a-z0-9._-]*"
COMPONENT = r"[A-Za-z_][A-Za-z0-9_]*"
VARIANT = r"[A-Za-z0-9_-]+"
SPLIT = r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*"
SIZE = r"[0-9]+(\.[0-9]+)? ?([KMGTkmgt][Ii]?)?[Bb]"  # as editors read it, which know no flags
VARIABLE = r"([A-Z][A-Z0-9_]*_)?TOKEN"
REPOSITORY_NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
PLACEHOLDERS = ("source", "target")


class UnfitError(ValueError):
    """A value that its field does not take.

    Args:
        text: What is wrong with it, as a `Problem` says it.
        suggestion: The nearest value that fits, empty where there is none.
        entry: Which entry of a list it is, where the value is one.

    """

    def __init__(self, text: str, suggestion: str = "", entry: int | None = None) -> None:
        super().__init__(text)
        self.suggestion = suggestion
        self.entry = entry


class ClashError(UnfitError):
    """Names of a recipe's repositories that do not go together; the loader finds each with its place."""


def fault_of_name(name: str) -> str:
    """Return what keeps a name from being a repository's or a namespace's on the Hub, empty where nothing does."""
    if not name:
        return "is empty"
    if stray := re.search(r"[^A-Za-z0-9._-]", name):
        return f"has {stray[0]!r}; names are made of letters, digits, '-', '_' and '.'"
    if name[0] in "-." or name[-1] in "-.":
        return f"begins or ends with '{name[0] if name[0] in '-.' else name[-1]}'"
    if double := re.search(r"--|\.\.", name):
        return f"has '{double[0]}'"
    if name.endswith(".git"):
        return "ends with '.git'"
    return f"has {len(name)} characters; the Hub takes {LONGEST_NAME}" if len(name) > LONGEST_NAME else ""


def namespace(text: str) -> str:
    """Return a user's or an organization's name, or raise `UnfitError`."""
    if fault := fault_of_name(text):
        raise UnfitError(f"the namespace {text!r} {fault}")
    return text


def repository(text: str) -> str:
    """Return ``namespace/name``, or raise `UnfitError`."""
    if found := pasted(text):
        what = "is an address" if "://" in text else "names a revision as well"
        rest = f", and the commit of '{found.revision}' as 'revision:'" if found.revision else ""
        raise UnfitError(f"{text!r} {what}; write the repository alone{rest}", found.repo)
    parts = text.split("/")
    if len(parts) != 2:
        raise UnfitError(f"{text!r} is no repository of the Hub; write 'namespace/name'")
    for part in parts:
        if fault := fault_of_name(part):
            raise UnfitError(f"{text!r} is no repository of the Hub: {part!r} {fault}")
    return text


def commit(text: str, repo: str = "") -> str:
    """Return a commit's 40 lower-case hex digits, or raise `UnfitError` that says how to find them."""
    if re.fullmatch(COMMIT, text):
        return text
    if re.fullmatch(COMMIT, text.lower()):
        raise UnfitError("a commit is written in lower case", text.lower())
    if re.fullmatch(r"[0-9a-fA-F]{7,}", text):
        count = len(text)
        raise UnfitError(f"{text!r} has {count} hex digits, a commit has 40; {_how_to_find('HEAD', repo)}")
    branch = text if re.fullmatch(r"[\w./-]+", text) else "main"
    raise UnfitError(f"{text!r} is a branch or tag, which may move; {_how_to_find(branch, repo)}")


def _how_to_find(branch: str, repo: str) -> str:
    address = f"https://huggingface.co/{repo or 'NAMESPACE/NAME'}"
    return f"write the commit that `git ls-remote {address} {branch}` prints"


def variant(text: str) -> str:
    """Return the name of a variant of weight files, or raise `UnfitError`."""
    if re.fullmatch(VARIANT, text):
        return text
    raise UnfitError(f"{text!r} is no variant; write what stands before '.safetensors', such as 'fp16'")


def variable(text: str) -> str:
    """Return the name of an environment variable that holds a token, or raise `UnfitError`, which never repeats it."""
    if not re.fullmatch(VARIABLE, text):
        raise UnfitError(
            "this names no variable; write the name of one, such as SOURCE_TOKEN, and never a token itself"
        )
    return text


def size(text: str) -> str:
    """Return a number of bytes with its unit, or raise `UnfitError`."""
    if re.fullmatch(SIZE, text) and bytes_of(text):
        return text
    raise UnfitError(f"{text!r} is no size; write a number and its unit, such as '12GB' or '800MiB'")


def bytes_of(text: str) -> int:
    """Return what a size amounts to; a GB has 10^9 bytes, a GiB 2^30, however they are spelled."""
    number, unit = re.fullmatch(r"([0-9.]+) ?(.*)B", text.upper(), re.ASCII).groups()  # type: ignore[union-attr]
    step = 1024 if unit.endswith("I") else 1000
    return int(float(number) * step ** " KMGT".index(unit[:1] or " "))


def split(text: str) -> str:
    """Return the name of a dataset's split, or raise `UnfitError`."""
    if re.fullmatch(SPLIT, text):
        return text
    whole = re.match(SPLIT, text)
    raise UnfitError(
        f"{text!r} is no split; write its name alone, and how many prompts with 'sample:'", whole[0] if whole else ""
    )


def path(text: str) -> str:
    """Return a path relative to the recipe's own file, or raise `UnfitError`."""
    if not text.strip():
        raise UnfitError("the path is empty")
    if "://" in text:
        raise UnfitError(f"{text!r} is an address; write a path relative to this recipe")
    return text


def included(text: str) -> str:
    """Return the path of a file that a recipe includes, or raise `UnfitError`."""
    if not path(text).endswith((".yaml", ".yml")):
        raise UnfitError(f"{text!r} is no YAML file; its name ends with '.yaml'")
    return text


def weights(text: str) -> str:
    """Return the name of a safetensors file inside a folder or repository, or raise `UnfitError`."""
    if not text.endswith(".safetensors"):
        raise UnfitError(f"{text!r} is no safetensors file, and nothing else is read")
    if any(part in {"", ".", ".."} for part in text.split("/")) or "\\" in text:
        raise UnfitError(f"{text!r} leaves its folder; write the file's path inside it")
    return text


def model(text: str) -> str:
    """Return a requirement's model, ``namespace/name`` or a path as `is_path` has it, or raise `UnfitError`."""
    return path(text) if is_path(text) else repository(text)


def is_path(model: str) -> bool:
    """Tell whether a model is a folder: its name begins with ``./``, ``../`` or ``/``."""
    return model.startswith(("./", "../", "/"))


def target(text: str) -> str:
    """Return a target's name, or raise `UnfitError`."""
    if re.fullmatch(TARGET, text):
        return text
    likely = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")
    rule = "lower-case letters, digits, '.', '_' and '-', beginning with a letter or digit"
    raise UnfitError(f"{text!r} is no target name; write {rule}", likely)


def component(text: str) -> str:
    """Return a component's name, a folder of a diffusers pipeline, or raise `UnfitError`."""
    if re.fullmatch(COMPONENT, text):
        return text
    raise UnfitError(f"{text!r} is no component; a component is a folder of the pipeline such as 'transformer'")


def argument(text: str) -> str:
    """Return a keyword argument of a call, or raise `UnfitError`."""
    if not re.fullmatch(COMPONENT, text):
        raise UnfitError(f"{text!r} is no keyword argument; write one such as 'guidance_scale'")
    return text


def name_of_source(repo_or_path: str) -> str:
    """Return what ``{source}`` stands for: the last part of the repository or of the path."""
    return PurePosixPath(repo_or_path).name


def template(text: str) -> str:
    """Return the template of a repository's name, or raise `UnfitError`."""
    for found in re.finditer(r"\{([^{}]*)\}", text):
        if found[1] not in PLACEHOLDERS:
            near = next((word for word in PLACEHOLDERS if found[1].strip().lower()[:1] == word[0]), "")
            suggestion = text.replace(found[0], f"{{{near}}}") if near else ""
            raise UnfitError(f"'{found[0]}' is unknown; a name has '{{source}}' and '{{target}}'", suggestion)
    rest = re.sub(r"\{(source|target)\}", "", text)
    if "{" in rest or "}" in rest:
        raise UnfitError("a brace stands alone; a name has '{source}' and '{target}'")
    if rest and (stray := re.search(r"[^A-Za-z0-9._-]", rest)):
        raise UnfitError(f"the name has {stray[0]!r}; names are made of letters, digits, '-', '_' and '.'")
    return text


def render(template: str, source: str, target: str) -> str:
    """Return the name of a target's repository; ``source`` is what ``{source}`` stands for."""
    return template.replace("{source}", source).replace("{target}", target)


def render_model(template: str, source: str) -> str:
    """Return what the model is called in the names of its files: a repository's name without the target's."""
    return re.sub(r"[-_.]*\{target\}", "", template).replace("{source}", source).strip("-_.") or source


def clashes(namespace: str, template: str, source: str, targets: Sequence[str]) -> list[tuple[tuple[str, ...], str]]:
    """Return what is wrong with the names of a recipe's repositories: where, as a path of keys, and why.

    Two targets never get one name: their own names differ and are in lower case, so a template that has ``{target}``
    keeps them apart, and one that has not is refused as soon as there are two.

    Args:
        namespace: Where the repositories go.
        template: What they are called.
        source: The source's repository or path.
        targets: The targets' names.

    """
    at = ("destination", "name")
    if "{target}" not in template and len(targets) > 1:
        return [(at, f"without '{{target}}' all {len(targets)} targets would be called {template!r}")]
    rendered = {target: render(template, name_of_source(source), target) for target in targets}
    faults = {target: fault for target, name in rendered.items() if (fault := fault_of_name(name))}
    if faults and len(faults) == len(targets):
        return [(at, f"the repository's name {rendered[target]!r} {fault}") for target, fault in [*faults.items()][:1]]
    found = [
        (("targets", target, "[key]"), f"the repository's name {rendered[target]!r} {fault}")
        for target, fault in faults.items()
    ]
    itself = [target for target, name in rendered.items() if f"{namespace}/{name}".lower() == source.lower()]
    return found + [(at, f"the target '{target}' would be published onto its own source {source}") for target in itself]
