"""Groups are what a recipe can name and a library can keep, the most suspicious first."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.backends.oracle.conversion import Conversion, ConversionPlan
from pipeline.plan.model import ResolvedComponent, lay_out_result
from pipeline.recipe import Quantization
from pipeline.source.layout import Component
from pipeline.source.safetensors import TensorInfo
from pipeline.tasks.answers import Facts
from pipeline.tune.baseline import shift
from pipeline.tune.groups import Group, groups_of
from pipeline.tune.search import widened
from pipeline.validate import Report
from pipeline.validate.report import LayerReport

MODULES = [
    "transformer_blocks.0.attn.to_q",
    "transformer_blocks.0.proj_out",
    "single.1.to_q",
    "proj_out",
    "embed.linear",
]
FACTS = Facts(
    device="cpu",
    how="",
    load_seconds=0,
    seconds_per_call=(),
    peak_memory_bytes=0,
    peak_device_bytes=None,
    versions={},
)


def asked(backend: str, scheme: str, library: str = "diffusers") -> ResolvedComponent:
    file = "transformer/model.safetensors"
    slots = {file: {f"{name}.weight": TensorInfo("BF16", (64, 128), 0, 64 * 128 * 2) for name in MODULES}}
    conversions = {
        f"{name}.weight": Conversion(parameter=f"{name}.weight", dtype="bfloat16", quantized=True) for name in MODULES
    }
    answer = ConversionPlan(conversions=conversions, parameters=tuple(conversions), kept={}, config="{}")
    component = Component(name="transformer", library=library, class_name="Model", small=(), weights=(file,))
    return lay_out_result(component, Quantization(backend=backend, scheme=scheme), slots, answer)


def report(**decibels: float) -> Report:
    layers = tuple(
        LayerReport(component="transformer", name=name, quantized=True, sqnr=decibels.get(name.split(".")[0], 40.0))
        for name in MODULES
    )
    return Report(
        verdict="FAIL", reasons=(), metrics={}, unmeasured={}, pairs=(), identical=0, layers=layers, reference=FACTS,
        candidate=FACTS,
    )  # fmt: skip


def named(groups: list[Group]) -> dict[tuple[str, ...], set[str]]:
    return {group.patterns: {swap.module for swap in group.swaps} for group in groups}


def test_blocks_are_kept_where_a_library_tells_modules_apart_and_names_where_it_does_not() -> None:
    blocks = groups_of({"transformer": asked("torchao", "int8-weight-only")}, report(), Path("/source"))
    assert named(blocks) == {
        ("transformer_blocks.0",): {"transformer_blocks.0.attn.to_q", "transformer_blocks.0.proj_out"},
        ("single.1",): {"single.1.to_q"},
        ("proj_out",): {"proj_out"},
        ("embed",): {"embed.linear"},
    }
    leaves = groups_of({"transformer": asked("quanto", "int8")}, report(), Path("/source"))
    assert named(leaves) == {
        ("*.to_q",): {"transformer_blocks.0.attn.to_q", "single.1.to_q"},
        ("proj_out", "*.proj_out"): {"proj_out", "transformer_blocks.0.proj_out"},
        ("*.linear",): {"embed.linear"},
    }


def test_a_text_encoder_is_kept_as_a_whole() -> None:
    part = asked("torchao", "int8-weight-only", "transformers")
    assert named(groups_of({"transformer": part}, report(), Path("/source"))) == {(): set(MODULES)}


def test_the_noisiest_for_its_bytes_comes_first() -> None:
    found = groups_of({"transformer": asked("torchao", "int8-weight-only")}, report(embed=10, proj_out=20), Path("/s"))
    assert [group.patterns[0] for group in found][:2] == ["embed", "proj_out"]
    assert found[0].sqnr == 10


def test_a_group_costs_what_the_layout_says() -> None:
    (group,) = (
        group
        for group in groups_of({"transformer": asked("torchao", "int8-weight-only")}, report(), Path("/source"))
        if group.patterns == ("proj_out",)
    )
    assert group.size == 64 * 128 * 2 - (64 * 128 + 64 * 4 + 64)


@pytest.mark.parametrize(("pattern", "count"), [("proj_out", 2), ("single.1", 1)])
def test_a_group_is_widened_to_all_names_that_end_alike(pattern: str, count: int) -> None:
    groups = groups_of({"transformer": asked("torchao", "int8-weight-only")}, report(), Path("/source"))
    wide = widened(next(group for group in groups if group.patterns == (pattern,)), groups)
    assert wide.patterns == (f"*{pattern}",)
    assert len(wide.layers) == count


def test_a_change_on_few_prompts_is_as_sure_as_they_agree() -> None:
    assert shift([1.0, 2.0, 3.0], [3.0, 4.0, 5.0]) == (2.0, 0.0)
    gain, error = shift([1.0, 2.0], [2.0, 5.0])
    assert gain == 2.0
    assert error == pytest.approx(1.0)
    assert shift([], []) == (0.0, 0.0)
    assert shift([1.0], [4.0, 6.0]) == (4.0, 0.0)
