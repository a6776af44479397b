"""Every packing gives the bytes that the library gives on a CPU, however the weight is cut into pieces."""

from __future__ import annotations

from threading import Thread

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernels.cases import CASES, DTYPES, Case, as_bytes, as_values, assert_equal, by_library, by_us
from kernels.weights import any_bits, weights

COLUMNS = st.one_of(st.integers(1, 300), st.sampled_from([64, 96, 128, 160, 192, 256, 384, 512, 640]))
EXAMPLES = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
each_case = pytest.mark.parametrize("case", CASES, ids=str)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Sum as torch does on one thread: the mean of many absmax values depends on it."""
    torch.set_num_threads(1)


@each_dtype
@each_case
@given(data=st.data())
@EXAMPLES
def test_the_bytes_are_the_librarys(case: Case, dtype: str, data: st.DataObject) -> None:
    weight = data.draw(weights(dtype, COLUMNS))
    result = by_us(case, weight, data.draw(st.lists(st.integers(1, 99), max_size=5)), data.draw(st.booleans()))
    if result is None:
        with pytest.raises(RuntimeError):
            by_library(case, weight)
        return
    assert_equal(case, weight, result)


@each_dtype
@each_case
def test_a_weight_of_real_size_has_the_librarys_bytes(case: Case, dtype: str) -> None:
    random = np.random.default_rng(7)
    plain = torch.from_numpy(random.standard_normal((512, 1536), np.float32) * 0.02).to(getattr(torch, dtype))
    weight = torch.cat([plain, any_bits(random, dtype, 64, 1536)])
    result = by_us(case, weight, [400, 401, 9000])
    assert result is not None
    assert_equal(case, weight, result)


@each_case
def test_threads_do_not_show(case: Case) -> None:
    weight = torch.from_numpy(np.random.default_rng(3).standard_normal((256, 512), np.float32))
    packing = case.call("packing", weight)
    values, step = as_values(weight), 16 * 512
    parts = []

    def pack(firsts: list[int]) -> None:
        for first in firsts:
            parts.extend(packing.pack(first, values[first : first + step]))

    firsts = list(range(0, values.size, step))
    threads = [Thread(target=pack, args=(firsts[part::4],)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done, alone = packing.finish(), by_us(case, weight, [place // packing.unit for place in firsts])
    assert alone is not None
    assert (done.noise, done.signal) == (alone.noise, alone.signal)
    whole = {name: as_bytes(content) for name, content in done.tensors.items()}
    for name, _, content in sorted(parts, key=lambda part: part[1]):
        whole[name] = whole.get(name, b"") + as_bytes(content)
    assert whole == {name: as_bytes(content) for name, content in alone.tensors.items()}
