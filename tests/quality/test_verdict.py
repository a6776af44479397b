"""A verdict follows from intervals, the source's own noise and what was loaded, and says which."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import CannotHereError, GenerationError, RecipeError
from pipeline.files import canonical_json, sha256_file
from pipeline.tasks import TASKS
from pipeline.tasks.answers import Answer, Answers
from pipeline.tasks.metrics import Measured, Pair, Reading, Sizes
from pipeline.validate import Evidence, Prompt, Report, Side, judge
from pipeline.validate.findings import Sample, judgement, remark_on
from pipeline.validate.limits import limits_of
from pipeline.validate.report import CompatibilityCheck

TASK = TASKS["text-to-image"]
COUNT = 8
PROMPTS = tuple(
    Prompt(text=f"a {word} seven") for word in ["thin", "bold", "red", "blue", "tall", "wide", "old", "new"]
)
FACTS: dict[str, Any] = {
    "device": "cpu",
    "how": "as published: from_pretrained",
    "load_seconds": 1.5,
    "peak_memory_bytes": 10**9,
    "peak_device_bytes": None,
    "versions": {"torch": "2.13.0"},
}
ASKED = [(prompt, seed) for prompt in range(COUNT) for seed in (0, 1)]
Draw = Callable[..., Side]
Offs = Mapping[tuple[int, int], int]


def _pixels(prompt: int, seed: int) -> Any:
    return np.random.default_rng(10 * prompt + seed).integers(20, 226, (16, 16, 3), dtype=np.uint8)


def _picture(folder: Path, prompt: int, seed: int, values: Any) -> Answer:
    folder.mkdir(exist_ok=True)
    path = folder / f"{prompt:03d}-{seed}.png"
    Image.fromarray(np.asarray(values).astype(np.uint8)).save(path)
    return Answer(prompt=prompt, seed=seed, file=path.name, sha256=sha256_file(path))


@pytest.fixture
def draw(tmp_path: Path) -> Draw:
    """Make a side whose pictures are the same noise, brightened by ``off`` levels, and drawn ``again`` with others."""

    def make(name: str, off: Offs | int = 0, again: int | None = None, prompts: int = COUNT, **facts: Any) -> Side:
        folder = tmp_path / name
        offs = dict.fromkeys(ASKED, off) if isinstance(off, int) else {one: off.get(one, 0) for one in ASKED}
        asked = [one for one in ASKED if one[0] < prompts]
        pictures = tuple(_picture(folder, *one, _pixels(*one) + offs[one]) for one in asked)
        twice = [] if again is None else [one for one in asked if one[1] == 0]
        repeated = tuple(
            _picture(folder / "repeated", *one, _pixels(*one) + (again or 0)).moved("repeated") for one in twice
        )
        answers = Answers(
            **{**FACTS, "seconds_per_call": (0.5,) * len(asked), **facts},
            task="text-to-image",
            given=pictures,
            repeated=repeated,
            varied="threads",
        )
        return Side(answers, folder)

    return make


def _psnr(off: int) -> float:
    return float(20 * np.log10(255 / off))


def _labelled(label: str) -> tuple[Prompt, ...]:
    return tuple(prompt.model_copy(update={"label": label}) for prompt in PROMPTS)


def _texts(report: Report) -> list[str]:
    return [reason.text for reason in report.reasons]


def test_a_candidate_that_keeps_every_limit_passes_and_says_why(draw: Draw) -> None:
    require = {"psnr": {"min": 30}, "ssim": {"min": 0.8}, "size_ratio": {"max": 0.3}}
    report = judge(draw("a"), draw("b", off=2), PROMPTS, require, Sizes(source=1000, result=280))
    assert report.verdict == "PASS"
    assert _texts(report)[0] == "psnr is 42.11 dB; at least 30 dB is required."
    assert _texts(report)[1] == (
        "psnr is 42.11 dB in its worst picture; at least 15 dB in every picture is required; with 95 % confidence that "
        "is so for 68 % of all prompts or more."
    )
    assert _texts(report)[-1] == "size_ratio is 0.28; at most 0.3 is required."
    assert {reason.verdict for reason in report.reasons} == {"PASS"}


@pytest.mark.parametrize("verdict", ["PASS", "INCONCLUSIVE", "FAIL"])
def test_what_users_do_next_decides_as_a_limit_does(draw: Draw, verdict: Any) -> None:
    use = CompatibilityCheck(kind="device", name="small device", verdict=verdict, text="It was tried.", numbers={})
    report = judge(draw("a"), draw("b", off=2), PROMPTS, {"psnr": {"min": 30}}, besides=Evidence(uses=(use,)))
    assert report.verdict == verdict
    assert report.uses == (use,)
    told = [reason for reason in report.reasons if reason.about == "use"]
    assert [(reason.verdict, reason.text) for reason in told] == [(verdict, "small device: It was tried.")]


def test_a_whole_interval_outside_fails_and_points_at_the_worst_pair(draw: Draw) -> None:
    offs = {one: 8 if one == (1, 0) else 5 for one in ASKED}
    report = judge(draw("a"), draw("b", off=offs), PROMPTS, {"psnr": {"min": 40}, "ssim": {"min": 0.5}})
    mean = (15 * _psnr(5) + _psnr(8)) / 16
    found = report.metrics["psnr"]
    held = found.judgements[0]
    assert report.verdict == held.verdict == "FAIL"
    assert found.median == pytest.approx(_psnr(5), rel=1e-6)
    assert _texts(report) == [
        f"psnr is {mean:.4g} dB (95 % between {held.found.low:.4g} and {held.found.high:.4g} dB); at least 40 dB is "
        f"required; worst with seed 0 for 'a bold seven': {_psnr(8):.4g} dB."
    ]
    assert found.value == pytest.approx(mean, rel=1e-6)
    assert held.found.number == pytest.approx(mean, rel=1e-6)
    assert held.found.low < held.found.number < held.found.high < held.bound == 40
    assert (found.worst[0].prompt, found.worst[0].seed) == (1, 0)
    assert report.metrics["ssim"].judgements[0].verdict == "PASS"


@pytest.mark.parametrize(
    ("require", "least"),
    [({"drop": {"max": 0.3}}, 10), ({"drop": {"max": 0.15}}, 19), ({"min": 0.9}, 45)],
)
def test_so_few_prompts_that_a_limit_is_never_kept_are_told_and_how_many_it_takes(require: Any, least: int) -> None:
    """Of yes and no the interval is that of their number where all say yes."""
    metric, written = TASK.metrics["label_accuracy"], {"label_accuracy": {"model": "x", **require}}
    (limit,) = limits_of(written, TASK.metrics)["label_accuracy"]
    for prompts, kept in ((least - 1, False), (least, True)):
        pairs = [Pair(number, "", "7", 0, None, None) for number in range(prompts)]
        sample = Sample(metric, Measured(1.0, 1.0, (Reading(1.0, 1.0),) * prompts), pairs)
        assert (judgement("label_accuracy", sample, limit, None, "picture").verdict == "PASS") is kept
        told = remark_on(TASK, written, prompts)
        assert told.endswith(f"; label_accuracy takes {least} or more") is not kept
    assert remark_on(TASK, {"label_accuracy": {"drop": {"max": 0}}}, 99).endswith(
        "; no number of them settles label_accuracy"
    )


def test_an_interval_around_the_limit_settles_nothing_and_says_what_would(draw: Draw) -> None:
    offs = {one: 2 if one[0] % 2 else 8 for one in ASKED}  # half the prompts at 42 dB, half at 30
    report = judge(draw("a"), draw("b", off=offs), PROMPTS, {"psnr": {"min": 35.5}})
    held = report.metrics["psnr"].judgements[0]
    assert report.verdict == held.verdict == "INCONCLUSIVE"
    assert held.found.low < 35.5 < held.found.high
    assert held.prompts_needed is not None
    assert held.prompts_needed > 10 * COUNT
    assert _texts(report)[0].endswith(
        f"which 8 prompts do not settle; about {held.prompts_needed} would in four of five samples, if what was found "
        "here holds; another scheme is likely cheaper."
    )


def test_the_sources_own_noise_moves_no_limit_and_is_told(draw: Draw) -> None:
    require = {"psnr": {"min": 40}}
    report = judge(draw("noisy", again=5), draw("c", off=5), PROMPTS, require)
    held = report.metrics["psnr"].judgements[0]
    assert (report.verdict, held.floor) == ("FAIL", pytest.approx(_psnr(5)))
    assert (
        "40 dB is required, which the source itself does not keep when it runs a second time (34.15 dB)"
        in (_texts(report)[0])
    )
    assert report.floor is not None
    assert (report.floor.varied, report.floor.pairs, report.floor.identical) == ("threads", 8, 0)


def test_a_candidate_beyond_the_noise_fails_all_the_same(draw: Draw) -> None:
    assert judge(draw("a", again=5), draw("b", off=9), PROMPTS, {"psnr": {"min": 40}}).verdict == "FAIL"


def test_a_floor_makes_no_limit_stricter(draw: Draw) -> None:
    assert judge(draw("a", again=1), draw("b", off=5), PROMPTS, {"psnr": {"min": 30}}).verdict == "PASS"


@pytest.mark.parametrize(("prompts", "words"), [(1, "1 prompt does"), (2, "2 prompts do"), (7, "7 prompts do")])
@pytest.mark.parametrize("least", [30, 55])
def test_a_few_prompts_settle_nothing(draw: Draw, prompts: int, words: str, least: int) -> None:
    sides = draw("a", prompts=prompts), draw("b", off=1, prompts=prompts)
    report = judge(*sides, PROMPTS, {"psnr": {"min": least}})
    assert report.verdict == "INCONCLUSIVE"
    assert f"which {words} not settle; it takes 8 or more" in _texts(report)[0]


def test_one_ruined_image_fails_whatever_the_mean(draw: Draw) -> None:
    offs = dict.fromkeys(ASKED, 0) | {(3, 1): 90}
    report = judge(draw("a"), draw("b", off=offs), PROMPTS, {"psnr": {"min": 25}})
    mean, worst = report.metrics["psnr"].judgements
    assert mean.found.number > 55  # identical pictures beside it
    assert (report.verdict, worst.of, worst.bound) == ("FAIL", "worst", 12.5)
    assert "in its worst picture; at least 12.5 dB in every picture is required; worst with seed 1 for" in " ".join(
        _texts(report)
    )


def test_a_recipe_may_say_what_its_worst_image_must_keep(draw: Draw) -> None:
    offs = {one: 8 if one == (1, 0) else 1 for one in ASKED}
    sides = draw("a"), draw("b", off=offs)
    assert judge(*sides, PROMPTS, {"psnr": {"min": 30, "worst": 20}}).verdict == "PASS"
    assert judge(*sides, PROMPTS, {"psnr": {"min": 30, "worst": 35}}).verdict == "FAIL"


def test_the_source_against_itself_passes_whatever_is_compared(draw: Draw, classifier: Path) -> None:
    labels = {"model": str(classifier), "drop": {"max": 0}}
    require = {"psnr": {"min": 60}, "ssim": {"min": 0.999}, "label_accuracy": labels}
    report = judge(draw("a"), draw("b"), _labelled("light"), require)
    assert report.verdict == "PASS"
    assert report.identical == len(report.pairs) == 16


def test_a_few_right_answers_do_not_prove_that_none_is_wrong(draw: Draw, classifier: Path) -> None:
    require = {"label_accuracy": {"model": str(classifier), "drop": {"max": 0.02}}}
    report = judge(draw("a"), draw("b", off=1), _labelled("dark"), require)
    (held,) = report.metrics["label_accuracy"].judgements
    assert held.verdict == "INCONCLUSIVE"
    assert held.found.low < 0 < held.found.high
    assert held.prompts_needed is not None


def test_a_limit_is_kept_by_its_own_number(draw: Draw) -> None:
    sides = draw("a"), draw("b", off=1)
    sizes = Sizes(source=4, result=1)
    assert judge(*sides, PROMPTS, {"size_ratio": {"max": 0.25}}, sizes).verdict == "PASS"
    assert judge(*sides, PROMPTS, {"size_ratio": {"max": 0.2499999}}, sizes).verdict == "FAIL"


def test_rounding_never_hides_why_it_failed(draw: Draw) -> None:
    sides = draw("a"), draw("b", off=1)
    report = judge(*sides, PROMPTS, {"size_ratio": {"max": 0.25}}, Sizes(source=400000, result=100001))
    assert _texts(report) == ["size_ratio is 0.2500025; at most 0.25 is required."]


def test_everything_is_measured_and_only_what_is_required_decides(draw: Draw) -> None:
    report = judge(draw("a"), draw("b", off=9), PROMPTS, {"ssim": {"min": 0.1}}, Sizes(source=1, result=9))
    assert report.verdict == "PASS"
    assert {"psnr", "ssim", "size_ratio"} <= report.metrics.keys()
    assert report.metrics["psnr"].judgements == ()
    assert (
        report.unmeasured["label_accuracy"]
        == "It needs an image classification model, named under label_accuracy.model."
    )


def test_nothing_required_is_said_so(draw: Draw) -> None:
    report = judge(draw("a"), draw("b"), PROMPTS, {})
    assert report.verdict == "PASS"
    assert _texts(report) == ["All 16 pictures were made; no number was required."]


def test_identical_pictures_are_counted_and_fit_into_json(draw: Draw) -> None:
    report = judge(draw("a"), draw("b", off={(1, 1): 2}), PROMPTS, {"psnr": {"min": 18}})
    assert report.identical == 15
    assert [pair.identical for pair in report.pairs].index(False) == 3
    assert report.metrics["psnr"].value == pytest.approx((15 * 60 + _psnr(2)) / 16)
    canonical_json(report.model_dump(mode="json"))  # refuses Infinity and NaN


def test_a_report_survives_json(draw: Draw) -> None:
    report = judge(draw("a", again=1), draw("b", off=3), PROMPTS, {"psnr": {"min": 50}}, Sizes(source=2, result=1))
    assert Report.model_validate_json(report.model_dump_json()) == report
    assert report.candidate.peak_memory_bytes == 10**9
    assert report.pairs[2].model_dump(include={"text", "seed", "candidate"}) == {
        "text": "a bold seven",
        "seed": 0,
        "candidate": "001-0.png",
    }


def test_the_same_answers_give_the_same_report(draw: Draw) -> None:
    sides = draw("a", again=1), draw("b", off={one: one[0] % 3 + 1 for one in ASKED})
    reports = [judge(*sides, PROMPTS, {"psnr": {"min": 40}}) for _ in range(2)]
    assert reports[0] == reports[1]


def test_a_gain_is_not_called_a_drop(draw: Draw, classifier: Path) -> None:
    require = {"label_accuracy": {"model": str(classifier), "drop": {"max": 0.1}}}
    report = judge(draw("a"), draw("b", off=20), _labelled("light"), require)  # the candidate alone is light enough
    drop = report.metrics["label_accuracy"].drop
    assert drop is not None
    assert drop.number == -1
    assert _texts(report)[0].startswith("label_accuracy rose by 1 (95 % between ")
    assert _texts(report)[0].endswith("; a drop of at most 0.1 is required.")


@pytest.mark.parametrize(
    ("require", "words"),
    [
        ({"psmr": {"min": 1}}, "psmr is no metric.*psnr, ssim"),
        ({"psnr": {"least": 1}}, "psnr knows no 'least'"),
        ({"latency": {"ratio": {"max": 1}}}, "latency knows no 'ratio'"),
        ({"psnr": {"min": "18"}}, "psnr's min is '18', no number"),
        ({"psnr": {"drop": {"max": 1}}}, "psnr compares the two sides and has no drop"),
        ({"label_accuracy": {"min": 0.9}}, "label_accuracy is required, but it needs an image classification model"),
        ({"clip_score": {"drop": {"max": 1}}}, "clip_score is required, but it needs a CLIP model"),
        ({"size_ratio": {"max": 1}}, "size_ratio is required, but it needs the sizes"),
    ],
)
def test_a_requirement_that_cannot_be_measured_is_a_mistake(draw: Draw, require: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        judge(draw("a"), draw("b"), PROMPTS, require)


def test_what_cannot_be_measured_here_matters_only_where_it_is_required(draw: Draw) -> None:
    sides = draw("a"), draw("b")
    assert "a machine with a GPU" in judge(*sides, PROMPTS, {}).unmeasured["peak_device_memory"]
    with pytest.raises(CannotHereError):
        judge(*sides, PROMPTS, {"peak_device_memory": {"max": 1}})


def test_answers_to_other_questions_are_not_compared(draw: Draw) -> None:
    side = draw("b")
    fewer = side.answers.model_copy(update={"given": side.answers.given[:3]})
    with pytest.raises(GenerationError, match="same prompts and seeds"):
        judge(draw("a"), Side(fewer, side.folder), PROMPTS, {})


def test_a_picture_that_was_exchanged_is_not_judged(draw: Draw) -> None:
    reference, candidate = draw("a"), draw("b", off=5)
    shutil.copy(reference.folder / "000-0.png", candidate.folder / "000-0.png")
    with pytest.raises(GenerationError, match=r"000-0\.png is not the one that was made"):
        judge(reference, candidate, PROMPTS, {})


CONFIGS: dict[str, dict[str, Any]] = {
    "scheduler": {"class": "FlowMatchEulerDiscreteScheduler", "shift": 3.0, "_diffusers_version": "0.42.1"},
    "transformer": {"class": "FluxTransformer2DModel", "num_layers": 1},
}


def test_a_part_that_is_not_the_sources_is_the_first_reason(draw: Draw) -> None:
    theirs = {
        "scheduler": {**CONFIGS["scheduler"], "shift": 1.0, "_diffusers_version": "0.41.0"},
        "transformer": {**CONFIGS["transformer"], "quantization_config": {"quant_method": "torchao"}},
    }
    files = {"tokenizer/vocab.json": "a" * 64}
    own = draw("a", configs=CONFIGS, files=files)
    other = draw("b", off=9, configs=theirs, files={"tokenizer/vocab.json": "b" * 64, "tokenizer/more.json": "c" * 64})
    report = judge(own, other, PROMPTS, {"psnr": {"min": 50}})
    assert [(reason.about, reason.verdict) for reason in report.reasons] == [
        ("file", "FAIL"),
        ("file", "FAIL"),
        ("metric", "FAIL"),
    ]
    assert _texts(report)[:2] == [
        "scheduler is not the source's: shift is 1.0 instead of 3.0.",
        "tokenizer/vocab.json is not the source's.",
    ]


def _reasons_for(draw: Draw, spoilt: Callable[[Any], Any], at: Sequence[tuple[int, int]] = ((2, 1),)) -> list[str]:
    """Return why a side fails some of whose pictures were spoilt."""
    side = draw("spoilt")
    pictures = list(side.answers.given)
    for one in at:
        pictures[ASKED.index(one)] = _picture(side.folder, *one, spoilt(_pixels(*one)))
    report = judge(
        draw("own"), Side(side.answers.model_copy(update={"given": tuple(pictures)}), side.folder), PROMPTS, {}
    )
    assert report.verdict == "FAIL"
    assert {reason.about for reason in report.reasons} == {"answer"}
    assert sum(bool(pair.fault) for pair in report.pairs) == len(report.reasons)
    return _texts(report)


def test_a_flat_picture_fails_whatever_the_numbers(draw: Draw) -> None:
    assert _reasons_for(draw, lambda pixels: np.full_like(pixels, 9)) == [
        "The picture for 'a red seven' with seed 1 is one flat colour."
    ]


def test_a_saturated_picture_fails(draw: Draw) -> None:
    (reason,) = _reasons_for(draw, lambda pixels: np.where(pixels > 120, 255, 0))
    assert reason == "The picture for 'a red seven' with seed 1 is saturated: 100% of its values are black or full."


def test_a_model_that_does_not_hear_its_prompt_fails(draw: Draw) -> None:
    shown = _pixels(0, 0)
    reasons = _reasons_for(draw, lambda _: shown + 0, at=[(1, 0), (4, 0)])
    assert reasons == [
        "The picture for 'a bold seven' with seed 0 is the same as that for 'a thin seven'.",
        "The picture for 'a tall seven' with seed 0 is the same as that for 'a thin seven'.",
    ]


def test_values_that_are_no_numbers_fail_and_blocked_pictures_do(draw: Draw) -> None:
    side = draw("b")
    first, second, *others = side.answers.given
    broken = (
        first.model_copy(update={"fault": "broken: 7 of its values are NaN or infinite"}),
        second.model_copy(update={"fault": "blocked by the pipeline's safety checker"}),
        *others,
    )
    report = judge(draw("a"), Side(side.answers.model_copy(update={"given": broken}), side.folder), PROMPTS, {})
    assert _texts(report) == [
        "The picture for 'a thin seven' with seed 0 is broken: 7 of its values are NaN or infinite.",
        "The picture for 'a thin seven' with seed 1 is blocked by the pipeline's safety checker.",
    ]


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        (lambda _: np.full((16, 16, 3), 128), "is one flat colour"),
        (lambda _: _pixels(0, 1), "The prompts 'a thin seven' and 'a red seven' give the same picture with seed 1"),
        (lambda pixels: np.where(pixels > 120, 255, 0), "is saturated"),
    ],
)
def test_two_grey_pictures_that_match_are_no_pass(draw: Draw, spoilt: Callable[[Any], Any], words: str) -> None:
    side = draw("grey")
    pictures = list(side.answers.given)
    pictures[ASKED.index((2, 1))] = _picture(side.folder, 2, 1, spoilt(_pixels(2, 1)))
    grey = Side(side.answers.model_copy(update={"given": tuple(pictures)}), side.folder)
    with pytest.raises(RecipeError, match=rf"source's own answers are degenerate.*{words}") as caught:
        judge(grey, grey, PROMPTS, {})
    assert caught.value.exit_code == 2
