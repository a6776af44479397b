"""The choice for a budget is the best of all combinations, and says so in a fixed order."""

from __future__ import annotations

from itertools import product
from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.plan.budget import ALIKE, Candidate, Choice, choices, within
from pipeline.plan.planner import searched
from pipeline.recipe import Quantization


def part(backend: str, size: int, sqnr: float, scheme: str = "int8", memory: int | None = None) -> Candidate:
    quantization = Quantization(backend=backend, scheme=scheme)
    return Candidate(quantization, size, size if memory is None else memory, 1000, sqnr)


def stays(size: int) -> Candidate:
    return Candidate(None, size, size)


def words(choice: Choice) -> list[str]:
    return [one.words for one in choice.parts.values()]


parts = st.builds(
    part,
    st.sampled_from(["a", "b", "c"]),
    st.integers(1, 30),
    st.sampled_from([6.0, 20.0, 20.7, 31.5, 41.6]),
    st.sampled_from(["x", "y"]),
    st.integers(1, 30),
)
components = st.lists(st.lists(parts, min_size=1, max_size=5), min_size=1, max_size=4).map(
    lambda found: {f"part{index}": [stays(25), *every] for index, every in enumerate(found)}
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(components, st.integers(1, 120), st.integers(1, 120))
def test_no_combination_within_the_budget_is_better(
    candidates: dict[str, list[Candidate]], size: int, memory: int
) -> None:
    best = within(choices(candidates), size, memory)
    every = []
    for combination in product(*candidates.values()):
        choice = Choice({})
        for name, one in zip(candidates, combination, strict=True):
            choice = choice.joined(name, one)
        if choice.quantized and choice.size <= size and choice.memory <= memory:
            every.append(choice)
    assert bool(best) == bool(every)
    if every:
        least = min(choice.noise for choice in every)
        alike = [choice for choice in every if choice.noise <= least * 10 ** (ALIKE / 10)]
        wanted = min(alike, key=lambda choice: (len(choice.backends), choice.order))
        assert (len(best[0].backends), best[0].order) == (len(wanted.backends), wanted.order)


def test_a_larger_budget_never_finds_something_noisier() -> None:
    candidates = {"one": [stays(100), part("a", 50, 41.6), part("a", 28, 20.7), part("b", 15, 6.0)]}
    found = [within(choices(candidates), size, None)[0].noise for size in range(15, 101)]
    assert found == sorted(found, reverse=True)


def test_one_library_is_chosen_over_two_that_are_hardly_better() -> None:
    candidates = {
        "one": [stays(100), part("a", 50, 41.6), part("b", 51, 41.2)],
        "two": [stays(100), part("b", 50, 41.6)],
    }
    assert words(within(choices(candidates), 101, None)[0]) == ["b int8", "b int8"]
    assert words(within(choices(candidates), 100, None)[0]) == ["a int8", "b int8"]  # nothing else fits


def test_something_is_quantized_even_where_nothing_has_to_be() -> None:
    candidates = {"one": [stays(10), part("a", 5, 41.6)], "two": [stays(100), part("a", 50, 41.6)]}
    assert within(choices(candidates), inf, None)[0].quantized


def test_the_limits_hold_for_files_and_memory_alike() -> None:
    candidates = {"one": [stays(100), part("a", 50, 41.6, memory=90), part("b", 60, 20.7, memory=40)]}
    assert words(within(choices(candidates), 70, None)[0]) == ["a int8"]
    assert words(within(choices(candidates), 70, 50)[0]) == ["b int8"]
    assert within(choices(candidates), 55, 50) == []


def test_a_budget_that_names_no_libraries_searches_those_that_from_pretrained_alone_loads() -> None:
    assert searched([]) == ["bitsandbytes", "torchao", "quanto", "compressed-tensors"]
    assert searched(["bfl", "torchao"]) == ["torchao", "bfl"]
