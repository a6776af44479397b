"""The page is one valid file that tells all of its report, and nothing in a report can act."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import html5lib
import numpy as np
import pytest
from PIL import Image

from pipeline.tasks.protocol import Given
from pipeline.tasks.text_to_video import save
from pipeline.tasks.texts.text import save as keep_text
from pipeline.validate.page import render
from pipeline.validate.page.answers import side_for
from pipeline.validate.page.clips import MOST_BYTES, Heard
from pipeline.validate.page.clips import heard as heard_clips
from pipeline.validate.report import Interval
from tests.page.conftest import NASTY, PROMPTS, pair, report, subject

SPACE = "{http://www.w3.org/1999/xhtml}"


@cache
def parsed(text: str) -> Any:
    """Parse strictly: the first thing that HTML does not allow is an error."""
    return html5lib.HTMLParser(strict=True).parse(text)


def elements(tree: Any, name: str) -> Iterator[Any]:
    return tree.iter(f"{SPACE}{name}")


def text_of(element: Any) -> str:
    return " ".join(" ".join(element.itertext()).split())


@pytest.fixture(params=["PASS", "INCONCLUSIVE", "FAIL"])
def text(request: pytest.FixtureRequest, pages: dict[str, Path]) -> str:
    return pages[request.param].read_text()


def test_it_is_valid_html(text: str) -> None:
    tree = parsed(text)
    names = [element.get("id") for element in tree.iter() if element.get("id")]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    targets = {link.get("href") for link in elements(tree, "a")}
    assert targets == {f"#{name}" for name in names} & targets
    labels = {element.get("aria-labelledby") for element in tree.iter()} - {None}
    assert labels <= set(names)


def test_it_needs_nothing_else(text: str) -> None:
    tree = parsed(text)
    for element in tree.iter():
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            value = element.get(name, "data:")
            assert value.startswith(("data:", "#")), value[:80]
        assert not [name for name in element.attrib if name.startswith("on") or name == "style"]
    styles = " ".join(text_of(style) for style in elements(tree, "style"))
    assert "@import" not in styles
    assert "url(" not in styles


def test_its_policy_lets_only_its_own_style_and_script_act(text: str) -> None:
    tree = parsed(text)
    (policy,) = (meta.get("content") for meta in elements(tree, "meta") if meta.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:; ")
    (style,) = elements(tree, "style")
    (script,) = (one for one in elements(tree, "script") if not one.get("type"))
    for kind, element in (("style", style), ("script", script)):
        digest = base64.b64encode(hashlib.sha256(element.text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in policy


def test_what_prompts_and_faults_say_is_text(text: str) -> None:
    tree = parsed(text)
    assert len(list(elements(tree, "script"))) == 2
    assert "<!--" not in text
    prompts = [text_of(one) for one in elements(tree, "p") if one.get("class") == "prompt"]
    assert set(prompts) == {" ".join(prompt.split()) for prompt in PROMPTS}
    images = {image.get("alt") for image in elements(tree, "img")}
    assert f"The source\N{RIGHT SINGLE QUOTATION MARK}s picture: {NASTY}" in images
    (values,) = (one.text for one in elements(tree, "script") if one.get("type") == "application/json")
    assert set(json.loads(values)["orders"]) == {"worst", "prompt", "psnr", "clip_score"}


def test_a_limit_on_the_worst_answer_shows_that_answer_and_not_the_mean(pictures: tuple[Path, Path]) -> None:
    found = report()
    psnr, clip = found.metrics["psnr"], found.metrics["clip_score"]
    worst = psnr.judgements[0].model_copy(update={"of": "worst", "found": Interval(number=21.5, low=21.5, high=21.5)})
    drop = clip.judgements[0].model_copy(update={"of": "worst drop", "found": Interval(number=3.7, low=3.7, high=3.7)})
    metrics = {**found.metrics, "psnr": psnr.model_copy(update={"judgements": (worst,)})}
    metrics |= {"clip_score": clip.model_copy(update={"judgements": (drop,)})}
    tree = parsed(render(subject(found.model_copy(update={"metrics": metrics}), pictures)))
    held = [text_of(one) for one in elements(tree, "td") if "held" in (one.get("class") or "").split()]
    assert "21.5 dB the worst picture; mean 38.5 dB" in held
    assert "3.7 points of the worst picture; mean 0.4 points" in held


def test_a_metric_whose_name_ends_a_script_stays_data(pictures: tuple[Path, Path]) -> None:
    found = report()
    name = "</script><script>alert(1)</script>"
    metrics = {**found.metrics, name: found.metrics["psnr"]}
    pairs = tuple(one.model_copy(update={"values": {**one.values, name: 1.0}}) for one in found.pairs)
    made = render(subject(found.model_copy(update={"metrics": metrics, "pairs": pairs}), pictures))
    tree = parsed(made)
    assert len(list(elements(tree, "script"))) == 2
    (values,) = (one.text for one in elements(tree, "script") if one.get("type") == "application/json")
    assert name in json.loads(values)["orders"]


def test_the_verdict_is_first_and_what_explains_most_follows(pages: dict[str, Path]) -> None:
    tree = parsed(pages["FAIL"].read_text())
    (title,) = elements(tree, "h1")
    assert text_of(title) == "FAIL nf4"
    (main,) = elements(tree, "main")
    told = [text_of(one) for one in elements(next(iter(main)), "li")]
    assert told[0].startswith("layer , FAIL: transformer: blocks.9.attn.to_q lost it")
    assert told[1].startswith("metric , FAIL: psnr is 38.5 dB")


def rows(tree: Any, caption: str) -> list[list[str]]:
    """Return the cells of a table's body as text."""
    (table,) = (one for one in elements(tree, "table") if text_of(next(iter(one))) == caption)
    (body,) = elements(table, "tbody")
    return [[text_of(cell) for cell in row] for row in elements(body, "tr")]


def test_a_metric_shows_value_interval_source_limit_floor_and_what_could_be_seen(pages: dict[str, Path]) -> None:
    open_one = rows(parsed(pages["INCONCLUSIVE"].read_text()), "Metrics with limits and verdicts")
    found = {row[0].split()[0]: row for row in open_one}
    clip = found["clip_score"]
    assert clip[1:4] == ["PASS", "88.8 points 87.3 to 90.3", "89.2 points"]
    assert clip[4] == "0.4 points 0.1 to 0.7"
    assert clip[5:] == ["a drop of at most 1", "", "0.19 points", "± 0.3 points"]
    assert found["psnr"][1] == "INCONCLUSIVE about 57 prompts would settle it in four of five samples"
    assert found["psnr"][8] == "± 1.25 dB"
    failed = rows(parsed(pages["FAIL"].read_text()), "Metrics with limits and verdicts")
    assert failed[1][1] == "INCONCLUSIVE 100,000 prompts would not settle it"
    assert found["peak_memory"][1:5] == ["not required", "2.5 GB", "5.0 GB", "0.5 \N{MULTIPLICATION SIGN}"]


def test_metrics_stand_in_the_order_that_the_program_knows_and_not_in_that_of_json(pages: dict[str, Path]) -> None:
    found = rows(parsed(pages["PASS"].read_text()), "Metrics with limits and verdicts")
    assert [row[0].split()[0] for row in found] == ["psnr", "clip_score", "size_ratio", "latency", "peak_memory"]


def test_what_fails_is_the_first_row_and_what_is_not_required_the_last(pages: dict[str, Path]) -> None:
    found = rows(parsed(pages["FAIL"].read_text()), "Metrics with limits and verdicts")
    assert found[0][0].startswith("psnr")
    assert [row[1] for row in found[-2:]] == ["not required", "not required"]


def test_pairs_without_a_picture_are_first_and_identical_ones_last(pages: dict[str, Path]) -> None:
    tree = parsed(pages["PASS"].read_text())
    cards = [one for one in elements(tree, "li") if one.get("data-index")]
    order = [int(one.get("data-index")) for one in cards]
    assert order[0] == 6
    assert order[-1] == 15
    assert "flat, as" in text_of(cards[0])
    assert "the same, bit for bit" in text_of(cards[-1])
    assert len(list(elements(cards[-1], "input"))) == 0
    assert sorted(order) == list(range(16))


def test_worst_is_what_metrics_of_pictures_agree_on_and_not_what_was_slow(pictures: tuple[Path, Path]) -> None:
    pairs = [pair(0, 0), pair(0, 1), pair(1, 0)]
    for one, psnr, clip, latency in zip(pairs, (40, 20, 30), (85, 60, 70), (9.0, 1.0, 2.0), strict=True):
        one["values"] = {"psnr": psnr, "clip_score": clip, "latency": latency}
    tree = parsed(render(subject(report(pairs=pairs), pictures)))
    assert [one.get("data-index") for one in elements(tree, "li") if one.get("data-index")] == ["1", "2", "0"]


def test_every_layer_that_can_differ_has_a_dot_and_a_row(pages: dict[str, Path]) -> None:
    tree = parsed(pages["FAIL"].read_text())
    found = rows(tree, "SQNR of layers, the worst first")
    assert len(found) == 505
    told = [element.get("aria-label") for element in tree.iter() if "dot" in (element.get("class") or "").split()]
    assert len([one for one in told if one.startswith(("transformer", "vae"))]) == 505
    assert "vae decoder.conv_out: 41.5 dB; kept" in told
    assert "40 layers that were kept answer exactly as the source" in pages["FAIL"].read_text()
    assert [found[0][2], found[1][2]] == ["no numbers", "3.25 dB"]


def test_targets_without_a_report_are_named(pages: dict[str, Path]) -> None:
    tree = parsed(pages["PASS"].read_text())
    found = rows(tree, "What targets cost and how good they are")
    assert [row[0] for row in found] == ["nf4 this target", "int8", "int4"]
    assert found[2][1] == "not judged"
    assert found[0][2:4] == ["310.0 kB", "0.55 s"]


def test_a_report_of_the_least_has_a_page(pages: dict[str, Path]) -> None:
    tree = parsed(pages["least"].read_text())
    assert [text_of(title) for title in elements(tree, "h2")] == ["Metrics", "Pictures", "What the run used"]


def test_small_pictures_are_the_files_that_were_measured(pages: dict[str, Path], pictures: tuple[Path, Path]) -> None:
    tree = parsed(pages["PASS"].read_text())
    inside = {base64.b64decode(image.get("src").partition(",")[2]) for image in elements(tree, "img")}
    assert inside == {(folder / "000-0.png").read_bytes() for folder in pictures}


def test_large_pictures_are_compressed_and_the_page_says_so(tmp_path: Path) -> None:
    folders = tmp_path / "source", tmp_path / "candidate"
    for folder in folders:
        folder.mkdir()
        for seed in (0, 1):
            noise = random.Random(seed).randbytes(1200 * 1200 * 3)
            Image.frombytes("RGB", (1200, 1200), noise).save(folder / f"000-{seed}.png", compress_level=0)
    made = render(subject(report(pairs=[pair(0, 0), pair(0, 1)]), folders))
    sources = re.findall(r'src="data:image/webp;base64,([^"]+)"', made)
    assert [Image.open(io.BytesIO(base64.b64decode(one))).size for one in sources] == [(1024, 1024)] * 4
    assert "PNGs of 1200 x 1200 pixels; to keep this page small it shows them as WebP of quality 90" in made
    assert len(made) < sum(file.stat().st_size for folder in folders for file in folder.iterdir()) / 2


def test_every_frame_of_a_video_counts() -> None:
    pictures, videos = side_for(1 << 30, 100), side_for(1 << 30, 100 * 25)
    assert pictures is not None
    assert videos is not None
    assert videos == pytest.approx(pictures / 5, abs=1)


def test_a_page_of_videos_speaks_of_videos_and_of_no_labels(tmp_path: Path) -> None:
    folders = tmp_path / "source", tmp_path / "candidate"
    for folder, shade in zip(folders, (40, 200), strict=True):
        folder.mkdir()
        save(Given(np.linspace(0, shade / 255, 3 * 16 * 16 * 3).reshape(3, 16, 16, 3)), folder / "002-0.png")
    found = report(pairs=[pair(2, 0)]).model_copy(update={"task": "text-to-video", "unmeasured": {"ssim": "nothing"}})
    tree = parsed(render(subject(found, folders)))
    (main,) = elements(tree, "main")
    told = text_of(main) + " ".join(image.get("alt") for image in elements(tree, "img"))
    assert "Every video is the PNG that was measured, 3 frames of 16 x 16 pixels." in told
    assert "1 metric was not measured" in told
    assert "picture" not in told
    assert "must show" not in told
    assert "must show 7" in render(subject(found.model_copy(update={"task": "text-to-image"}), folders))


def test_clips_are_heard_on_the_page_beside_what_both_hear(tmp_path: Path) -> None:
    folders = tmp_path / "source", tmp_path / "candidate"
    for folder, text, token in zip(folders, ("a red barn", f"a read barn {NASTY}"), (2, 4), strict=True):
        folder.mkdir()
        said = Given(np.zeros(3), text=text, tokens=(1, token, 3), pieces=text.split(" ", 2))
        keep_text(said, folder / "002-0.json")
        np.save(folder / "002-0.sound.npy", [1.5, 44_100, 2])
    (tmp_path / "clip.wav").write_bytes(b"RIFF and more")
    heard = pair(2, 0) | {"reference": "002-0.json", "candidate": "002-0.json", "label": "a red barn"}
    found = report(pairs=[heard]).model_copy(update={"task": "automatic-speech-recognition"})
    text = render(subject(found, folders, clips={2: tmp_path / "clip.wav"}))
    (player,) = elements(parsed(text), "audio")
    assert player.get("src") == f"data:audio/wav;base64,{base64.b64encode(b'RIFF and more').decode()}"
    (main,) = elements(parsed(text), "main")
    assert "(1.5 s, 2 channels mixed, resampled from 44.1 to 16 kHz)" in text_of(main)
    assert "was said a red barn" in text_of(main)
    assert "media-src data:" in text
    assert NASTY not in text
    marked = [text_of(one) for one in elements(parsed(text), "mark")]
    assert "read" in " ".join(marked)


def test_clips_for_which_a_page_has_no_room_are_left_out(tmp_path: Path) -> None:
    np.save(tmp_path / "000-0.sound.npy", [1.0, 16_000, 1])
    (tmp_path / "clip.wav").touch()
    os.truncate(tmp_path / "clip.wav", MOST_BYTES + 1)
    (one,) = report(pairs=[pair(0, 0)]).pairs
    assert heard_clips([one], {0: tmp_path / "clip.wav"}, tmp_path) == {0: Heard("", "1.0 s")}
