"""A component is compiled in a process that has nothing but the checkpoint, and drawn with before and after."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.validate.compatibility import CompatibilityCheck, Compilation, Uses, try_uses
from pipeline.validate.compatibility.asking import Tried
from pipeline.validate.compatibility.compiled import judge_compiled
from tests.desk import asked

CALL = {"height": 16, "width": 16, "num_inference_steps": 1, "max_sequence_length": 16}
REQUEST = asked("seven", "nine", call=CALL)
SMALL = Compilation(component="text_encoder")


def compiled(source: Path, out: Path) -> CompatibilityCheck:
    (use,) = try_uses(Uses(compilations=(SMALL,)), source, source, REQUEST, out)
    assert (use.kind, use.name) == ("compile", "text_encoder")
    return use


@pytest.mark.nightly
def test_a_compiled_component_is_counted_timed_and_compared(source: Path, tmp_path: Path) -> None:
    use = compiled(source, tmp_path)
    assert use.verdict == "PASS", use.text
    assert use.numbers["graphs"] >= 1
    assert use.numbers["compile_seconds"] > 0
    assert use.numbers["psnr"] > 25
    assert f"{use.numbers['speedup']:.2f} times as fast on cpu" in use.text


@pytest.mark.nightly
def test_a_machine_without_a_compiler_is_inconclusive_with_the_remedy(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "no-compiler"))
    use = compiled(source, tmp_path / "out")
    assert use.verdict == "INCONCLUSIVE"
    assert "cannot be tried on this machine (InvalidCxxCompiler); install a C++ compiler (g++)" in use.text


def test_what_compiling_raises_is_a_failure() -> None:
    said = Tried(device="cpu", how="as published", failure="Unsupported: Data-dependent branching")
    use = judge_compiled(Compilation(component="transformer", fullgraph=True), said)
    assert use.verdict == "FAIL"
    assert use.text == "Compiled with mode default as one graph it raises Unsupported: Data-dependent branching"


@pytest.mark.parametrize(
    ("worse", "words"),
    [({"psnr": 12.0}, "gives other answers: 12.0 dB"), ({"not_numbers": 7.0}, "answers 7 values that are no numbers")],
)
def test_other_pictures_are_a_failure(worse: dict[str, float], words: str) -> None:
    use = judge_compiled(SMALL, Tried(device="cpu", how="as published", numbers=NUMBERS | worse))
    assert use.verdict == "FAIL"
    assert words in use.text


def test_graph_breaks_are_told_with_their_reason_and_are_no_failure() -> None:
    said = Tried(device="cpu", how="as published", numbers=NUMBERS, breaks=("Dynamo cannot trace a library.",))
    use = judge_compiled(SMALL, said)
    assert use.verdict == "PASS"
    assert use.text == (
        "Compiled with mode default it is 1.50 times as fast on cpu, 2 graph breaks, 1 recompile over the "
        "prompts, 30 s to compile, 40.0 dB to the answers without. The graph breaks at: Dynamo cannot trace a library."
    )


NUMBERS = {
    "graph_breaks": 2.0,
    "graphs": 3.0,
    "recompiles": 1.0,
    "speedup": 1.5,
    "eager_seconds": 3.0,
    "compiled_seconds": 2.0,
    "compile_seconds": 30.0,
    "not_numbers": 0.0,
    "psnr": 40.0,
}
