"""What every entry of the dict of backends keeps to."""

from __future__ import annotations

import pytest

from pipeline.backends import BACKENDS
from pipeline.backends.loader import EVERYWHERE, Lift, lifts_of

every_backend = pytest.mark.parametrize("name", BACKENDS)


@every_backend
def test_a_backend_is_called_as_checkpoints_name_their_method(name: str) -> None:
    for scheme, one in BACKENDS[name].SCHEMES.items():
        options = one.options().model_dump(mode="json")
        assert BACKENDS[name].configuration(scheme, options)["quant_method"] == name


@every_backend
def test_a_library_loads_unaided_or_there_is_a_way_to_lift_what_stops_it(name: str) -> None:
    for loader in BACKENDS[name].LOADERS.values():
        assert set(loader.devices) <= set(EVERYWHERE)
        lifts = lifts_of([loader])
        assert "cpu" in loader.devices or lifts, "validation has no way to load it without a GPU"
        assert all(isinstance(lift, Lift) for lift in lifts)


@every_backend
def test_what_a_scheme_does_not_refuse_has_a_loader(name: str) -> None:
    for scheme in BACKENDS[name].SCHEMES.values():
        assert {"diffusers", "transformers"} - scheme.refuses.keys() <= BACKENDS[name].LOADERS.keys()
