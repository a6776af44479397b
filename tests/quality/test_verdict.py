"""A verdict follows from the numbers and the requirements, and says which."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import CannotHereError, RecipeError, SourceError
from pipeline.files import canonical_json, sha256_file
from pipeline.quality import Answers, GenerationError, Picture, Prompt, Report, Side, Sizes, digits, judge

PROMPTS = (Prompt(text="a thin seven"), Prompt(text="a bold two"))
FACTS: dict[str, Any] = {
    "device": "cpu",
    "how": "as published: from_pretrained",
    "load_seconds": 1.5,
    "seconds_per_call": (0.5, 0.25, 0.25, 0.25),
    "peak_memory_bytes": 10**9,
    "peak_device_bytes": None,
    "versions": {"torch": "2.13.0"},
}
Draw = Callable[..., Side]


def _pixels(prompt: int, seed: int) -> Any:
    return np.random.default_rng(10 * prompt + seed).integers(0, 246, (16, 16, 3), dtype=np.uint8)


@pytest.fixture
def draw(tmp_path: Path) -> Draw:
    """Make a side whose four pictures are the same noise, brightened by ``off`` levels."""

    def make(name: str, off: dict[tuple[int, int], int] | int = 0, flat: tuple[int, int] | None = None) -> Side:
        folder = tmp_path / name
        folder.mkdir()
        pictures = []
        for prompt, seed in ((0, 0), (0, 1), (1, 0), (1, 1)):
            more = off if isinstance(off, int) else off.get((prompt, seed), 0)
            values = np.full((16, 16, 3), 9, np.uint8) if flat == (prompt, seed) else _pixels(prompt, seed) + more
            path = folder / f"{prompt:03d}-{seed}.png"
            Image.fromarray(values.astype(np.uint8)).save(path)
            pictures.append(Picture(prompt=prompt, seed=seed, file=path.name, sha256=sha256_file(path)))
        return Side(Answers(**FACTS, pictures=tuple(pictures)), folder)

    return make


def _psnr(off: int) -> float:
    return float(20 * np.log10(255 / off))


def test_a_candidate_that_keeps_every_limit_passes_and_says_why(draw: Draw) -> None:
    require = {"psnr": {"min": 30}, "ssim": {"min": 0.8}, "size_ratio": {"max": 0.3}}
    report = judge(draw("a"), draw("b", off=2), PROMPTS, require, Sizes(source=1000, result=280))
    assert report.verdict == "PASS"
    assert report.reasons[0] == "psnr is 42.11 dB; at least 30 dB is required."
    assert report.reasons[2] == "size_ratio is 0.28; at most 0.3 is required."
    assert all(report.metrics[name].passed for name in require)


def test_a_broken_limit_fails_and_points_at_the_worst_pair(draw: Draw) -> None:
    candidate = draw("b", off={(0, 0): 2, (0, 1): 2, (1, 0): 8, (1, 1): 2})
    report = judge(draw("a"), candidate, PROMPTS, {"psnr": {"min": 40}, "ssim": {"min": 0.5}})
    mean = (3 * _psnr(2) + _psnr(8)) / 4
    worst = report.metrics["psnr"].worst
    assert report.verdict == "FAIL"
    assert report.reasons == (
        f"psnr is {mean:.4g} dB; at least 40 dB is required; worst with seed 0 for 'a bold two': {_psnr(8):.4g} dB.",
    )
    assert report.metrics["psnr"].value == pytest.approx(mean, rel=1e-6)
    assert worst is not None
    assert (worst.prompt, worst.seed) == (1, 0)
    assert (report.metrics["psnr"].passed, report.metrics["ssim"].passed) == (False, True)
    assert report.metrics["psnr"].limit == "at least 40 dB"


def test_a_limit_is_kept_by_its_own_number(draw: Draw) -> None:
    sides = draw("a"), draw("b", off=1)
    sizes = Sizes(source=4, result=1)
    assert judge(*sides, PROMPTS, {"size_ratio": {"max": 0.25}}, sizes).verdict == "PASS"
    assert judge(*sides, PROMPTS, {"size_ratio": {"max": 0.2499999}}, sizes).verdict == "FAIL"


def test_rounding_never_hides_why_it_failed(draw: Draw) -> None:
    report = judge(
        draw("a"), draw("b", off=1), PROMPTS, {"size_ratio": {"max": 0.25}}, Sizes(source=400000, result=100001)
    )
    assert report.reasons == ("size_ratio is 0.2500025; at most 0.25 is required.",)


def test_everything_is_measured_and_only_what_is_required_decides(draw: Draw) -> None:
    report = judge(draw("a"), draw("b", off=9), PROMPTS, {"ssim": {"min": 0.1}}, Sizes(source=1, result=9))
    assert report.verdict == "PASS"
    assert report.metrics.keys() == {"psnr", "ssim", "size_ratio"}
    assert report.metrics["psnr"].passed is None
    assert report.unmeasured == {
        "clip_score": "It needs a CLIP model, named under clip_score.model.",
        "label_accuracy": "It needs a digit as label of every prompt.",
    }


def test_nothing_required_is_said_so(draw: Draw) -> None:
    report = judge(draw("a"), draw("b"), PROMPTS, {})
    assert (report.verdict, report.reasons) == ("PASS", ("All 4 pictures were drawn; no number was required.",))


def test_identical_pictures_are_counted_and_fit_into_json(draw: Draw) -> None:
    report = judge(draw("a"), draw("b", off={(1, 1): 2}), PROMPTS, {"psnr": {"min": 18}})
    assert report.identical == 3
    assert [pair.identical for pair in report.pairs] == [True, True, True, False]
    assert report.metrics["psnr"].value == pytest.approx((300 + _psnr(2)) / 4)
    canonical_json(report.model_dump(mode="json"))  # refuses Infinity and NaN


def test_a_report_survives_json(draw: Draw) -> None:
    report = judge(draw("a"), draw("b", off=3), PROMPTS, {"psnr": {"min": 50}}, Sizes(source=2, result=1))
    assert Report.model_validate_json(report.model_dump_json()) == report
    assert report.candidate.peak_memory_bytes == 10**9
    assert report.pairs[2].model_dump(include={"text", "seed", "candidate"}) == {
        "text": "a bold two",
        "seed": 0,
        "candidate": "001-0.png",
    }


def test_a_flat_picture_fails_whatever_the_numbers(draw: Draw) -> None:
    report = judge(draw("a"), draw("b", flat=(1, 0)), PROMPTS, {})
    assert report.verdict == "FAIL"
    assert report.reasons == ("The picture for the prompt 'a bold two' with seed 0 is one flat colour.",)


def test_values_that_are_no_numbers_fail(draw: Draw) -> None:
    side = draw("b")
    first, *others = side.answers.pictures
    broken = side.answers.model_copy(update={"pictures": (first.model_copy(update={"not_numbers": 7}), *others)})
    report = judge(draw("a"), Side(broken, side.folder), PROMPTS, {})
    assert report.verdict == "FAIL"
    assert report.reasons == (
        "The pipeline returned 7 values that are NaN or infinite for the prompt 'a thin seven' with seed 0.",
    )


def test_nothing_is_judged_against_a_degenerate_source(draw: Draw) -> None:
    with pytest.raises(SourceError, match=r"source's own answers are degenerate\. .*'a thin seven' with seed 1"):
        judge(draw("a", flat=(0, 1)), draw("b", flat=(0, 1)), PROMPTS, {})


def test_a_gain_is_not_called_a_drop(draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([3, 9] * 4)  # candidate, then reference: the candidate alone is read as asked
    monkeypatch.setattr("pipeline.quality.metrics.read_digits", lambda pictures: [next(answers) for _ in pictures])
    labelled = tuple(prompt.model_copy(update={"label": "3"}) for prompt in PROMPTS)
    report = judge(draw("a"), draw("b"), labelled, {"label_accuracy": {"drop": {"max": 0.1}}})
    assert report.metrics["label_accuracy"].drop == -1
    assert report.reasons == ("label_accuracy rose by 1; a drop of at most 0.1 is required.",)


def test_a_drop_is_held_against_the_source(draw: Draw) -> None:
    labelled = tuple(prompt.model_copy(update={"label": "3"}) for prompt in PROMPTS)
    require = {"label_accuracy": {"min": 0.0, "drop": {"max": -0.5}}}
    report = judge(draw("a"), draw("b"), labelled, require)
    finding = report.metrics["label_accuracy"]
    assert (finding.value, finding.reference, finding.drop) == (finding.reference, finding.value, 0.0)
    assert report.verdict == "FAIL"
    assert report.reasons[0].startswith("label_accuracy dropped by 0; a drop of at most -0.5 is required")


@pytest.mark.parametrize(
    ("require", "words"),
    [
        ({"psmr": {"min": 1}}, "psmr is no metric.*psnr, ssim"),
        ({"psnr": {"least": 1}}, "psnr knows no 'least'"),
        ({"psnr": {"min": "18"}}, "psnr's min is '18', no number"),
        ({"psnr": {"drop": {"max": 1}}}, "psnr compares the two pictures and has no drop"),
        ({"label_accuracy": {"min": 0.9}}, "label_accuracy is required, but it needs a digit as label"),
        ({"clip_score": {"drop": {"max": 1}}}, "clip_score is required, but it needs a CLIP model"),
        ({"size_ratio": {"max": 1}}, "size_ratio is required, but it needs the sizes"),
    ],
)
def test_a_requirement_that_cannot_be_measured_is_a_mistake(draw: Draw, require: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        judge(draw("a"), draw("b"), PROMPTS, require)


def test_a_missing_library_matters_only_where_it_is_required(draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    digits._reader.cache_clear()
    labelled = tuple(prompt.model_copy(update={"label": "3"}) for prompt in PROMPTS)
    sides = draw("a"), draw("b")
    assert "quantpress[digits]" in judge(*sides, labelled, {}).unmeasured["label_accuracy"]
    with pytest.raises(CannotHereError):
        judge(*sides, labelled, {"label_accuracy": {"min": 0.5}})


def test_answers_to_other_questions_are_not_compared(draw: Draw) -> None:
    side = draw("b")
    fewer = side.answers.model_copy(update={"pictures": side.answers.pictures[:3]})
    with pytest.raises(GenerationError, match="same prompts and seeds"):
        judge(draw("a"), Side(fewer, side.folder), PROMPTS, {})


def test_a_picture_that_was_exchanged_is_not_judged(draw: Draw) -> None:
    reference, candidate = draw("a"), draw("b", off=5)
    shutil.copy(reference.folder / "000-0.png", candidate.folder / "000-0.png")
    with pytest.raises(GenerationError, match=r"000-0\.png is not the one that was drawn"):
        judge(reference, candidate, PROMPTS, {})
