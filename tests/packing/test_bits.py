"""Every packing gives the bytes that the library gives on a CPU, however the weight is cut into pieces."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from time import sleep
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from packing.cases import CASES, DTYPES, NAME, Case, as_bytes, as_values, assert_equal, by_library, by_us
from packing.weights import any_bits, weights

from pipeline.kernels.levels import codebook
from pipeline.kernels.nested import quantize_nested

COLUMNS = st.one_of(st.integers(1, 300), st.sampled_from([64, 96, 128, 160, 192, 256, 384, 512, 640]))
EXAMPLES = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
each_case = pytest.mark.parametrize("case", CASES, ids=str)
# What no test says of float16 that one of the others does not comes at night.
each_dtype = pytest.mark.parametrize(
    "dtype", [pytest.param(dtype, marks=[pytest.mark.nightly] * (dtype == "float16")) for dtype in DTYPES]
)


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
        with pytest.raises((RuntimeError, ValueError)):
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


@each_dtype
@each_case
def test_few_values_have_the_librarys_bytes(case: Case, dtype: str) -> None:
    random = np.random.default_rng(11)
    for columns in (*range(1, 70), 129, 256):
        weight = torch.from_numpy(random.standard_normal((1 + columns % 3, columns), np.float32))
        result = by_us(case, weight.to(getattr(torch, dtype)))
        if result is not None:
            assert_equal(case, weight.to(getattr(torch, dtype)), result)


@each_dtype
@pytest.mark.parametrize("columns", [46, 64])  # ragged blocks are divided by their absmax, others multiplied
@pytest.mark.parametrize("case", CASES[:4], ids=str)
def test_values_beside_bounds_fall_as_the_librarys_do(case: Case, columns: int, dtype: str) -> None:
    random = np.random.default_rng(13)
    bounds = codebook(case.scheme).tables[:15]
    for absmax in random.random(100, np.float32):
        near = bounds * absmax
        values = np.concatenate([[absmax], near, np.nextafter(near, -1), np.nextafter(near, 1), np.zeros(18)])
        weight = torch.from_numpy(values[:columns].astype(np.float32)[None]).to(getattr(torch, dtype))
        result = by_us(case, weight)
        assert result is not None
        assert_equal(case, weight, result)


@each_dtype
@pytest.mark.parametrize("backend", ["torchao", "quanto"])
def test_rows_of_zeros_become_the_librarys_nan(backend: str, dtype: str) -> None:
    (case,) = (case for case in CASES if case.backend == backend and case.scheme.startswith("float8"))
    for rows, columns in [(1, 31), (1, 33), (2, 33), (3, 17), (5, 70), (40, 3), (4, 64)]:
        weight = torch.zeros((rows, columns), dtype=getattr(torch, dtype))
        result = by_us(case, weight, [1])
        assert result is not None
        assert_equal(case, weight, result)
        assert np.isnan(result.noise)


def test_the_mean_of_absmax_values_is_torchs_on_one_thread() -> None:
    random = np.random.default_rng(5)
    sizes = [*range(1, 100), *(2**power * 32 + more for power in range(5, 16) for more in (-33, -1, 0, 1, 40))]
    for size in sizes:
        absmax = random.random(size, np.float32) * np.exp2(random.integers(-4, 4, size)).astype(np.float32)
        made = quantize_nested(absmax, np.zeros((size, 2), np.float32))
        assert made.offset == torch.from_numpy(absmax).mean().item(), size


def test_codes_too_many_for_memory_are_packed_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.backends.packings.LARGE", 1)
    weight = torch.from_numpy(np.random.default_rng(2).random((32, 256), np.float32))
    for case, codes in ((Case("quanto", "int4"), f"{NAME}._data._data"), (Case("bfl", "nvfp4"), NAME)):
        result = by_us(case, weight, [3])
        assert result is not None
        assert isinstance(result.tensors[codes], np.memmap)
        assert_equal(case, weight, result)


def test_threads_never_fill_the_same_bytes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    filled: list[NDArray[Any]] = []

    def fill(chunk: object, steps: object, midpoint: object, kept: object, packed: NDArray[Any], sums: object) -> None:
        assert not any(np.shares_memory(packed, other) for other in filled)
        filled.append(packed)
        sleep(0.002)
        filled[:] = [other for other in filled if other is not packed]

    monkeypatch.setattr("pipeline.kernels.groups.pack_groups", fill)
    packing = Case("quanto", "int2").call("packing", torch.empty((64, 256)))
    values = np.zeros(64 * 256 // 4, np.float32)  # a quarter of the weight, which has a place in every byte
    with ThreadPoolExecutor(4) as threads:
        done = [threads.submit(packing.pack, first, values) for first in range(0, 64 * 256, values.size)]
    assert [future.result() for future in done] == [[]] * 4


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
