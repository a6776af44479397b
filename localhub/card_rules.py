"""Rules for the metadata of a card, as the Hub applies them: in ``validate-yaml``, and again at each commit.

They are known from what people were refused with (``tests/hub_client/REAL_HUB.md`` names where). The Hub's own answer
goes before them wherever it can be asked, for its lists grow.
"""

from __future__ import annotations

import re
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

FRONT_MATTER: Final = re.compile(r"\A\s*---(?:\r\n?|\n)(.*?)(?:\r\n?|\n)---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
MOST_VALUES: Final = 100_000
MOST_DEPTH: Final = 50
EMPTY: Final = (
    "empty or missing yaml metadata in repo card (https://huggingface.co/docs/hub/model-cards#model-card-metadata)"
)
REPO_ID: Final = re.compile(r"[\w.-]{1,96}(/[\w.-]{1,96})?", re.ASCII)
WORDS: Final = {"pipeline_tag": (str,), "library_name": (str,), "license_name": (str,), "license_link": (str,)}
LISTS: Final = {"license": (str, list), "language": (str, list), "tags": (list,), "datasets": (str, list)}
NAMED: Final = ("license", "datasets", "base_model", "tags")
SHAPES: Final[dict[str, tuple[type, ...]]] = {
    **WORDS,
    **LISTS,
    "base_model": (str, list),
    "widget": (list,),
    "model-index": (list,),
}
_NAMES: Final = """
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m
    afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0
    cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0
    cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0
    cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl
    gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc h-research intel-research lppl-1.3c ms-pl apple-ascl apple-amlr
    mpl-2.0 odc-by odbl openmdw-1.0 openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr
    deepfloyd-if-license fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 llama3.3 llama4
    grok2-community gemma unknown other
"""
LICENSES: Final = frozenset(_NAMES.split())  # as the Hub listed them in May 2026


class BadCardError(ValueError):
    """Metadata of a card that cannot be read."""


def metadata_of(content: str) -> dict[str, Any]:
    """Return the front matter of a card as plain JSON values; none gives an empty mapping.

    Raises:
        BadCardError: It is not YAML, or not a mapping.
    """
    found = FRONT_MATTER.match(content)
    if not found:
        return {}
    try:
        value = YAML(typ="safe", pure=True).load(found[1])
    except (YAMLError, ValueError, TypeError) as error:  # a date that is none, a list as a key
        raise BadCardError(f"Invalid YAML: {error}") from error
    except RecursionError:
        raise BadCardError("The metadata is nested too deeply.") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadCardError("The metadata has to be a mapping of keys to values.")
    return {str(key): _plain(each, [MOST_VALUES], 0) for key, each in value.items()}


def errors_of(content: str) -> list[str]:
    """Return why the Hub refuses a card; it takes one without metadata.

    Args:
        content: The text of a README.md.
    """
    try:
        metadata = metadata_of(content)
    except BadCardError as error:
        return [str(error)]
    wrong = [
        f'"{key}" must be {" or ".join("a string" if kind is str else "an array" for kind in kinds)}'
        for key, kinds in SHAPES.items()
        if metadata.get(key) is not None and not isinstance(metadata[key], kinds)
    ]
    wrong += [
        f'"license" must be one of those of https://huggingface.co/docs/hub/repositories-licenses, not "{name}"'
        for name in many(metadata, "license")
        if str(name) not in LICENSES
    ]
    wrong += [
        f'"base_model" with value "{name}" is not valid. Use a model id from https://hf.co/models.'
        for name in many(metadata, "base_model")
        if not REPO_ID.fullmatch(str(name))
    ]
    return wrong + [f'"{key}" must hold strings' for key in NAMED if None in many(metadata, key)]


def many(metadata: dict[str, Any], key: str) -> list[Any]:
    """Return the values of a key that may have one or a list of them."""
    value = metadata.get(key) or []
    return value if isinstance(value, list) else [value]


def _plain(value: Any, left: list[int], depth: int) -> Any:
    """Return a value of YAML as JSON knows it, if it is no larger than a card needs; aliases can make it endless.

    Args:
        value: What was read.
        left: In one item, how many more values there may be.
        depth: How deep in the metadata this is.
    """
    left[0] -= 1
    if left[0] < 0 or depth > MOST_DEPTH:
        raise BadCardError("The metadata holds too many values, or nests them too deeply.")
    if isinstance(value, dict):
        return {str(key): _plain(each, left, depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(each, left, depth + 1) for each in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)
