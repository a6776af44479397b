"""The pictures of a card are the worst and the median pair, the source's beside the candidate's."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from pipeline.card.context import shown
from pipeline.card.stage import draw
from pipeline.hub.release_files import MEDIAN, WORST
from pipeline.validate import PairReport, Report
from pipeline.validate.stage import Judged

COLORS = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0), (0, 250, 250)]


def pair(number: int, psnr: float, **more: float) -> PairReport:
    values = {"psnr": psnr, **more}
    name = f"{number}.png"
    return PairReport(prompt=number, text=f"prompt {number}", label=None, seed=0, reference=name, candidate=name,
                      identical=False, values=values, reference_values={})  # fmt: skip


def told(report: Report, *pairs: PairReport) -> Report:
    return report.model_copy(update={"pairs": pairs})


def test_the_pair_with_the_least_psnr_is_the_worst_and_the_middle_one_the_median(report: Report) -> None:
    values = [40.0, 22.0, 55.0, 30.0, 35.0]
    found = shown(told(report, *(pair(number, psnr) for number, psnr in enumerate(values))))
    assert (found.metric, found.unit) == ("psnr", "dB")
    assert found.worst.prompt == 1
    assert found.median is not None
    assert found.median.prompt == 4


def test_of_a_metric_that_is_better_when_lower_the_highest_is_the_worst(report: Report) -> None:
    found = report.metrics["psnr"].model_copy(update={"direction": "lower", "unit": ""})
    pairs = [pair(number, 0.0, lpips=value) for number, value in enumerate((0.1, 0.9, 0.3))]
    blind = told(report, *(one.model_copy(update={"values": {"lpips": one.values["lpips"]}}) for one in pairs))
    found = shown(blind.model_copy(update={"metrics": {"lpips": found}}))
    assert (found.metric, found.worst.prompt) == ("lpips", 1)
    assert found.median is not None
    assert found.median.prompt == 2


def test_a_single_pair_is_shown_once(report: Report) -> None:
    assert shown(told(report, pair(0, 30.0))).median is None


def test_the_source_stands_left_of_the_candidate(report: Report, tmp_path: Path) -> None:
    for side, shift in (("reference", 0), ("candidate", 1)):
        (tmp_path / side).mkdir()
        for number in range(3):
            Image.new("RGB", (16, 16), COLORS[number + shift]).save(tmp_path / side / f"{number}.png")
    judged = Judged(
        told(report, pair(0, 40.0), pair(1, 20.0), pair(2, 30.0)), tmp_path / "reference", tmp_path / "candidate"
    )
    (tmp_path / "images").mkdir()
    draw(judged, tmp_path)
    for name, number in ((WORST, 1), (MEDIAN, 2)):
        with Image.open(tmp_path / name) as sheet:
            width, height = sheet.size
            assert sheet.getpixel((width // 4, height // 2)) == COLORS[number]
            assert sheet.getpixel((3 * width // 4, height // 2)) == COLORS[number + 1]
