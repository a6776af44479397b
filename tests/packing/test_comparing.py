"""What is told of values beside a base is what numpy says in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.kernels.comparing import compare_rows, power_of
from pipeline.kernels.formats import as_bits
from pipeline.kernels.rows import PART

ROWS, COLUMNS = 5, PART + 37
WIDEN = {
    "float32": lambda values: values,
    "float16": lambda values: values.astype(np.float16),
    "bfloat16": lambda values: (values.view(np.uint32) >> 16).astype(np.uint16),
}


@pytest.mark.parametrize("stored", WIDEN)
def test_sums_are_those_of_float64(stored: str) -> None:
    chance = np.random.default_rng(1)
    base: Any = WIDEN[stored](chance.standard_normal(ROWS * COLUMNS).astype(np.float32))
    wanted = base.astype(np.uint32) << 16 if stored == "bfloat16" else base.astype(np.float32)
    exact = wanted.view(np.float32).reshape(ROWS, COLUMNS).astype(np.float64)
    values = (exact + 0.01 * chance.standard_normal(exact.shape)).astype(np.float32)
    values[3] = 0  # a row that is lost
    sums = np.ones(6)
    compare_rows(values.reshape(-1), as_bits(base), COLUMNS, sums)
    of = values.astype(np.float64)
    told = [((of - exact) ** 2).sum(), (exact**2).sum(), (of * exact).sum(), (of**2).sum(), 1, (exact[3] ** 2).sum()]
    assert sums - 1 == pytest.approx(told, rel=1e-6)
    assert power_of(values.reshape(-1)) == pytest.approx((of**2).sum(), rel=1e-6)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_none_shows_in_the_power(odd: float) -> None:
    values = np.zeros(COLUMNS, np.float32)
    assert power_of(values) == 0
    values[-1] = odd
    assert not np.isfinite(power_of(values))
