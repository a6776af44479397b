"""Reports on pictures that are drawn here, one of each verdict, as pages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from pipeline.validate.page import Subject, render
from pipeline.validate.report import Report

NASTY = "\"><script>alert('prompt')</script></style><!-- & </script> 'ünï' {{ 7 * 7 }}"
PROMPTS = ["a red barn", NASTY, "a cat", "a boat on a lake", "three apples", "a clock", "an owl", "a bridge"]
RED, BLUE = (220, 30, 30), (30, 60, 220)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
ROOMS = {"PASS": 0.0, "INCONCLUSIVE": 38.0, "FAIL": 60.0}  # decibels that are required of a candidate that has 38 or so


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of both sides: everything red in the source is blue in the candidate."""
    folders = []
    for side, colour in (("source", RED), ("candidate", BLUE)):
        folder = tmp_path_factory.mktemp(side)
        for index in range(len(PROMPTS)):
            for seed in (0, 1):
                Image.new("RGB", (16, 16), colour).save(folder / f"{index:03}-{seed}.png")
        folders.append(folder)
    return folders[0], folders[1]


def interval(number: float, half: float) -> dict[str, float]:
    return {"number": number, "low": number - half, "high": number + half}


def judged(of: str, kind: str, bound: float, found: dict[str, float], **more: Any) -> dict[str, Any]:
    words = f"{'a drop of ' if of == 'drop' else ''}at {'least' if kind == 'min' else 'most'} {bound:g}"
    return {"words": words, "of": of, "kind": kind, "bound": bound, "found": found, "verdict": "PASS", **more}


def metrics(verdict: str) -> dict[str, Any]:
    psnr, drop = interval(38.5, 1.25), interval(0.4, 0.3)
    open_one = {"prompts_needed": 57} if verdict == "INCONCLUSIVE" else {}
    limit = judged("value", "min", ROOMS[verdict], psnr, floor=54.5) | {"verdict": verdict} | open_one
    other = "INCONCLUSIVE" if verdict == "FAIL" else "PASS"
    return {
        "size_ratio": {
            "value": 0.31,
            "direction": "lower",
            "judgements": [judged("value", "max", 0.65, interval(0.31, 0))],
        },
        "clip_score": {
            "value": 88.8,
            "interval": interval(88.8, 1.5),
            "reference": 89.2,
            "drop": drop,
            "floor": 0.19,
            "unit": "points",
            "direction": "higher",
            "judgements": [judged("drop", "max", 1.0, drop, floor=0.19) | {"verdict": other}],
        },
        "psnr": {
            "value": 38.5,
            "interval": psnr,
            "floor": 54.5,
            "unit": "dB",
            "direction": "higher",
            "judgements": [limit],
        },
        "peak_memory": {
            "value": 2.5e9,
            "reference": 5e9,
            "ratio": interval(0.5, 0),
            "unit": "bytes",
            "direction": "lower",
        },
        "latency": {
            "value": 0.51,
            "interval": interval(0.51, 0.02),
            "reference": 0.6,
            "ratio": interval(0.85, 0.04),
            "unit": "s",
            "direction": "lower",
        },
    }


def pair(index: int, seed: int) -> dict[str, Any]:
    number = 2 * index + seed
    name = f"{index:03}-{seed}.png"
    values = {"psnr": 45.0 - number, "clip_score": 80.0 + 3 * (number % 5), "latency": 0.5 - 0.01 * number}
    return {
        "prompt": index,
        "text": PROMPTS[index],
        "label": "7" if index == 2 else None,
        "seed": seed,
        "reference": name,
        "candidate": name,
        "identical": number == 15,
        "fault": f"flat, as {NASTY}" if number == 6 else "",
        "values": values,
        "reference_values": {"clip_score": 90.0, "latency": 0.6},
    }


def layers() -> list[dict[str, Any]]:
    """Return as many layers as FLUX has; the worst first."""
    kinds = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp", "proj_out", "ff.net.0.proj")
    found = [
        {"component": "transformer", "name": f"blocks.{block}.{kind}", "quantized": True, "made": 21.0}
        | {"sqnr": 18 + (7 * block + 3 * place) % 50 / 10, "fault": ""}
        for place, kind in enumerate(kinds)
        for block in range(84)
    ]
    found[3] |= {"sqnr": None, "fault": "answers with values that are no numbers"}
    found[9] |= {"sqnr": 3.25, "fault": f"lost it, {NASTY}"}
    kept = {"component": "vae", "quantized": False, "made": None, "fault": ""}
    found += [kept | {"name": f"decoder.norm.{number}", "sqnr": 100.0} for number in range(40)]
    found += [kept | {"name": "decoder.conv_out", "sqnr": 41.5}]
    return sorted(found, key=lambda layer: -1.0 if layer["sqnr"] is None else float(str(layer["sqnr"])))


def facts(**more: Any) -> dict[str, Any]:
    return {
        "device": "cpu",
        "how": "as published: from_pretrained",
        "load_seconds": 4.2,
        "seconds_per_call": [0.9, 0.5, 0.6],
        "peak_memory_bytes": 5_000_000_000,
        "peak_device_bytes": None,
        "versions": {"torch": "2.13.0", "diffusers": "0.42.1"},
        **more,
    }


def reasons(verdict: str) -> list[dict[str, str]]:
    if verdict == "PASS":
        return [{"about": "metric", "verdict": "PASS", "text": f"psnr is {number} dB."} for number in range(9)]
    first = {"about": "layer", "verdict": "FAIL", "text": f"transformer: blocks.9.attn.to_q lost it, {NASTY}."}
    second = {
        "about": "metric",
        "verdict": verdict,
        "text": "psnr is 38.5 dB; about 57 prompts would settle it in four of five samples.",
    }
    return [first, second] if verdict == "FAIL" else [second]


def written(verdict: str) -> dict[str, Any]:
    """Return a report as JSON has it."""
    pairs = [pair(index, seed) for index in range(len(PROMPTS)) for seed in (0, 1)]
    return {
        "verdict": verdict,
        "reasons": reasons(verdict),
        "metrics": metrics(verdict),
        "unmeasured": {"lpips": "It needs torchvision."},
        "pairs": pairs,
        "identical": 1,
        "layers": layers(),
        "uses": [
            {"kind": "lora", "name": "acme/lora", "verdict": "PASS", "text": "It loads.", "numbers": {"scale": 0.8}},
            {"kind": "compile", "name": "transformer", "verdict": verdict, "text": "2 breaks.", "numbers": {}},
        ],
        "floor": {"varied": "1 thread instead of 2", "pairs": 3, "identical": 0},
        "reference": facts(),
        "candidate": facts(versions={"torch": "2.13.0", "torchao": "0.18.0"}),
        "sizes": {"source": 1_000_000, "result": 310_000},
    }


def report(verdict: str = "PASS", **changes: Any) -> Report:
    return Report.model_validate(written(verdict) | changes)


def short(verdict: str) -> Report:
    """Return a report with a little of everything: what looks at every element takes long where there are hundreds."""
    whole = written(verdict)
    found, pairs = whole["layers"], whole["pairs"]
    return report(verdict, layers=[*found[:4], *found[-42:]], pairs=[pairs[2], pairs[6], pairs[15]])


def least() -> Report:
    """Return a report that has nothing but one pair of pictures."""
    one = pair(0, 0) | {"values": {}, "reference_values": {}}
    nothing = {"metrics": {}, "layers": [], "uses": [], "floor": None, "sizes": None, "unmeasured": {}}
    return report(pairs=[one], identical=0, **nothing)


def subject(found: Report, pictures: tuple[Path, Path], **changes: Any) -> Subject:
    larger = report(sizes={"source": 1_000_000, "result": 520_000})
    values = {
        "target": "nf4",
        "repository": "acme/tiny-nf4",
        "report": found,
        "reference": pictures[0],
        "candidate": pictures[1],
        "others": {"int8": larger, "int4": None},
        "used": {"What was made": {"Source": "acme/tiny at 0123", "Digest of the plan": "ab" * 32}},
    }
    return Subject(**(values | changes))


@pytest.fixture(scope="session")
def pages(pictures: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The file of a page for each verdict, whole and short."""
    folder = tmp_path_factory.mktemp("pages")
    for verdict in ROOMS:
        (folder / f"{verdict}.html").write_text(render(subject(report(verdict), pictures)))
        (folder / f"{verdict}, short.html").write_text(render(subject(short(verdict), pictures)))
    (folder / "least.html").write_text(render(subject(least(), pictures, others={}, used={})))
    return {path.stem: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The browser of this machine. A module's own: its driver keeps an event loop running in this thread."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None and os.environ.get("CI"):
        pytest.fail("there is no browser here, and `make browser` installs one")
    if path is None:
        pytest.skip("there is no browser here; `make browser` installs one")
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=path)
        yield running
        running.close()
