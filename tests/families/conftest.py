"""A small model of every family on disk, and what the libraries say of every case, asked in one child."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from families.cases import FAMILIES, Wanted
from families.comparing import Case, Family

from pipeline.backends.oracle.conversion import ask_library


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Family]:
    """Every family by its class, saved in the dtype that its case begins from."""
    import diffusers
    import torch
    import transformers
    from families import diffusers_models, transformers_models

    root = tmp_path_factory.mktemp("families")
    builders = {"diffusers": (diffusers, diffusers_models), "transformers": (transformers, transformers_models)}
    found = {}
    for library, names in FAMILIES.items():
        package, models = builders[library]
        for name, dtype in names.items():
            torch.manual_seed(0)
            models.tiny_model(getattr(package, name)).to(getattr(torch, dtype)).save_pretrained(root / name)
            found[name] = Family(library, name, root / name)
    return found


@pytest.fixture(scope="session")
def case_of(families: dict[str, Family]) -> Callable[[Wanted], Case]:
    """Give a case its folder."""
    return lambda wanted: Case(families[wanted.name], wanted.scheme, wanted.dtype, wanted.keep)


@pytest.fixture(scope="session")
def said(case_of: Callable[[Wanted], Case], request: pytest.FixtureRequest) -> dict[Wanted, dict[str, Any]]:
    """What the libraries say of every case that is tested, and of it where nothing is kept: an answer, or an error."""
    given = [item.callspec.params.get("wanted") for item in request.session.items if hasattr(item, "callspec")]
    tested = [wanted for wanted in given if isinstance(wanted, Wanted)]
    every = list(dict.fromkeys(wanted for one in tested for wanted in (one, replace(one, keep=()))))
    return dict(zip(every, ask_library([case_of(wanted).question() for wanted in every], "families"), strict=True))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where the library writes."""
    return tmp_path / "theirs"
