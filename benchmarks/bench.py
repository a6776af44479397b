"""Measures whole processes against each other, in alternation, and writes what it saw.

``make bench`` runs everything that this machine has the disk for; ``make bench ONLY=nf4-4`` one comparison,
``make bench ONLY=lint`` those of lint. Results go to ``benchmarks/results.json``, and the tables of
``benchmarks/README.md`` are made of them.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

from judging import TARGETS, judged, make_model, write_recipe
from language import GROUP, make_language_model
from reading import weights
from recipe import write_pipeline
from source import BLOCKS, make_source
from table import write_readme
from validating import Trial

HERE = Path(__file__).parent
WORK = HERE.parent / "build" / "bench"
KERNELS = {"gguf": "blocks", "kernels": "kernels"}  # what measures them, by what it is asked for as
RESULTS = HERE / "results.json"
PUBLISH = [str(Path(sys.executable).with_name("publish"))]
PAIRS = 5
IDLE = 10.0  # seconds; long enough that the machine is as a user finds it who runs one command
FEATURES = ("sha_ni", "avx2", "avx512f", "avx512_bf16", "amx_bf16")
LIBRARIES = (
    *("torch", "diffusers", "bitsandbytes", "torchao", "optimum-quanto", "comfy-kitchen", "compressed-tensors"),
    *("numba", "huggingface-hub"),
)
SCHEMES = {
    "nf4": ("bitsandbytes", "nf4"),
    "bnb-int8": ("bitsandbytes", "int8"),
    "torchao-int8": ("torchao", "int8-weight-only"),
    "quanto-int8": ("quanto", "int8"),
    "gguf-q8_0": ("gguf", "q8_0", "names=diffusers"),
    "gguf-q8_0-family": ("gguf", "q8_0", "names=family"),
    "comfy-int8-convrot": ("comfy", "int8-convrot"),
}
LINTED = (
    *(("gguf", "q8_0"), ("gguf", "q4_k"), ("comfy", "int8"), ("bitsandbytes", "nf4")),
    ("torchao", "float8-weight-only"),
)
LARGE = {"13": "13 GB (14 and 13 of FLUX.1-dev's 19 and 38 blocks)", "24": "24 GB (FLUX.1-dev)"}
SINGLE = {"gguf-q8_0": "Q8_0", "gguf-q8_0-family": "Q8_0 in the family's names", "comfy-int8-convrot": "int8 ConvRot"}


@dataclass(frozen=True)
class Run:
    """One process: what it is called, how it is started, and what is put in place before."""

    name: str
    command: list[str]
    before: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Seen:
    """What one process took: seconds from start to exit, and the most memory that it or a child of it had."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Comparison:
    """Two processes in alternation, each after some idle seconds; ``limit`` is the ratio of seconds to be reached."""

    name: str
    what: str
    ours: Run
    other: Run
    limit: float
    pairs: int = PAIRS
    memory_limit: float | None = None
    idle: float = 0.0


def measured(run: Run, out: Path) -> Seen:
    """Run a process once and take its result away."""
    run.before()
    began = time.monotonic()
    child = subprocess.Popen(run.command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    said = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.monotonic() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{run.name} ended with {child.returncode}: {said[-2000:]}")
    shutil.rmtree(out, ignore_errors=True)
    return Seen(round(seconds, 3), round(usage.ru_utime + usage.ru_stime, 3), usage.ru_maxrss * 1024)


def compare(comparison: Comparison, out: Path) -> dict[str, Any]:
    """Run both in alternation and sum up; ours once before, so that it knows what it is said to know."""
    measured(comparison.ours, out)
    seen: dict[str, list[Seen]] = {"ours": [], "other": []}
    for number in range(comparison.pairs):
        for side, run in (("ours", comparison.ours), ("other", comparison.other)):
            time.sleep(comparison.idle)
            seen[side].append(measured(run, out))
            tell(f"{comparison.name} {number + 1}/{comparison.pairs} {run.name}: {seen[side][-1]}")
    sums = {
        side: {
            "name": run.name,
            "seconds": [one.seconds for one in seen[side]],
            "median_seconds": round(median(one.seconds for one in seen[side]), 2),
            "median_cpu_seconds": round(median(one.cpu_seconds for one in seen[side]), 2),
            "peak_bytes": max(one.peak_bytes for one in seen[side]),
        }
        for side, run in (("ours", comparison.ours), ("other", comparison.other))
    }
    ratios = [a.seconds / b.seconds for a, b in zip(seen["ours"], seen["other"], strict=True)]
    return {
        "what": comparison.what,
        "machine": machine(),
        **sums,
        "ratio": round(median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "limit": comparison.limit,
        "idle_seconds": comparison.idle,
        "memory_ratio": round(sums["ours"]["peak_bytes"] / sums["other"]["peak_bytes"], 3),
        "memory_limit": comparison.memory_limit,
    }


def quantize(source: Path, out: Path, scheme: str, *, fresh: bool = False) -> Run:
    """Return our command; ``fresh`` where nothing is known of the library's answer."""
    home = WORK / "home"
    backend, word, *options = SCHEMES[scheme]
    arguments = ["quantize", str(source), "--out", str(out), "--backend", backend, "--scheme", word]
    arguments += [part for option in options for part in ("--option", option)]
    forget = (lambda: shutil.rmtree(home / "answers", ignore_errors=True)) if fresh else (lambda: None)
    return Run(f"publish quantize {scheme}", [*PUBLISH, *arguments, "--home", str(home)], forget)


def without_sha(run: Run) -> Run:
    """Return a process for which OpenSSL finds no SHA instructions in the processor, as many servers have none.

    Bit 29 of the second capability word: https://docs.openssl.org/3.0/man3/OPENSSL_ia32cap/
    """
    return Run(run.name, ["env", "OPENSSL_ia32cap=:~0x20000000", *run.command], run.before)


def copy(source: Path, out: Path) -> Run:
    """Return the copy that we are compared with."""
    return Run("cp -r", ["cp", "-r", str(source), str(out)])


def library(source: Path, out: Path, scheme: str) -> Run:
    """Return the library's own way."""
    script = HERE / "by_library.py"
    return Run(f"diffusers {scheme}", [sys.executable, str(script), str(source), str(out), scheme])


def run_recipe(size: str, targets: tuple[str, ...], home: Path) -> Run:
    """Return our command that makes the targets of a recipe, up to their checkpoints."""
    folder = WORK / f"pipeline-{size}"
    chosen = [word for target in targets for word in ("--target", target)]
    recipe = str(folder / "recipe.yaml")
    command = [*PUBLISH, "run", recipe, "--hub", "local", "--stop-after", "quantize", "--home", str(home), *chosen]

    def ready() -> None:
        write_pipeline(folder, WORK / f"source-{size}")
        shutil.rmtree(home / "store", ignore_errors=True)

    return Run(f"{len(targets)} of a recipe's targets", command, ready)


def linted(size: str, backend: str, scheme: str, *, cached: bool) -> Comparison:
    """Return what compares `publish lint` with its base and reading the files of both once."""
    source, made = WORK / f"source-{size}", WORK / f"linted-{size}-{backend}-{scheme}"

    def ready() -> None:
        if not made.exists():
            arguments = ["quantize", str(source), "--out", str(made), "--backend", backend, "--scheme", scheme]
            measured(Run("publish quantize", [*PUBLISH, *arguments, "--home", str(WORK / "home")]), WORK / "out")
        for path in () if cached else weights((source, made)):
            file = os.open(path, os.O_RDONLY)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)

    where = "in the page cache" if cached else "on the disk"
    name = f"lint-{size}-{backend}-{scheme}" + ("" if cached else "-disk")
    what = f"`lint` of {backend} {scheme} with its base of {size} GB, both {where}, against reading both once"
    reading = [sys.executable, str(HERE / "reading.py"), str(source), str(made)]
    ours = Run("publish lint", [*PUBLISH, "lint", str(made), "--base", str(source)], ready)
    pairs = PAIRS if size == "4" else 3
    return Comparison(name, what, ours, Run("readinto", reading, ready), 1.2, pairs=pairs)


def comparisons(size: str) -> Iterator[Comparison]:
    """List what is compared on a source of a size."""
    source, out = WORK / f"source-{size}", WORK / "out"
    cp, known = copy(source, out), "once the library's answer is known"
    nf4 = quantize(source, out, "nf4")
    if size == "24":
        what = f"nf4, {LARGE[size]}, against cp -r, {known}"
        yield Comparison("nf4-24", what, nf4, cp, 0.6, pairs=3, idle=IDLE)
        yield linted(size, *LINTED[0], cached=False)
    if size in ("13", "24"):
        for scheme, called in SINGLE.items():
            what = f"{called}, {LARGE[size]}, against cp -r, {known}"
            yield Comparison(f"{scheme}-{size}", what, quantize(source, out, scheme), cp, 1.0, pairs=3, idle=IDLE)
    if size != "4":
        return
    first = quantize(source, out, "nf4", fresh=True)
    yield Comparison("nf4-4-first", "nf4, 4 GB, against cp -r, the first time", first, cp, 1.0, idle=IDLE)
    yield Comparison("nf4-4", f"nf4, 4 GB, against cp -r, {known}", nf4, cp, 0.6, idle=IDLE)
    masked = f"nf4, 4 GB, against cp -r, {known}, the SHA instructions masked"
    yield Comparison("nf4-4-without-sha", masked, without_sha(nf4), cp, 1.0, idle=IDLE)
    for scheme in ("bnb-int8", "torchao-int8", "quanto-int8"):
        what = f"{scheme}, 4 GB, against cp -r, {known}"
        yield Comparison(f"{scheme}-4", what, quantize(source, out, scheme), cp, 1.0, idle=IDLE)
    yield Comparison("nf4-4-at-once", f"nf4, 4 GB, against cp -r, {known}, back to back", nf4, cp, 0.6)
    synced = Run("cp -r and sync", ["sh", "-c", 'cp -r "$0" "$1" && sync "$1"/*', str(source), str(out)])
    yield Comparison("nf4-4-synced", f"nf4, 4 GB, against cp -r and sync, {known}, back to back", nf4, synced, 0.6)
    home = WORK / "home-recipe"
    four = run_recipe("4", ("bnb-nf4", "bnb-int8", "torchao-int8", "quanto-int8"), home)
    one = run_recipe("4", ("quanto-int8",), home)
    yield Comparison("four-targets", "four targets in one pass, 4 GB, against the slowest alone", four, one, 2.0)
    for scheme in ("nf4", "torchao-int8", "quanto-int8"):
        ours, theirs = quantize(source, out, scheme), library(source, out, scheme)
        what = f"{scheme}, 4 GB, against diffusers' own path"
        yield Comparison(f"{scheme}-4-library", what, ours, theirs, 1 / 6, memory_limit=0.1)
    for backend, scheme in LINTED:
        yield linted(size, backend, scheme, cached=True)
    yield linted(size, *LINTED[0], cached=False)


def verdicts() -> Iterator[Comparison]:
    """List what a verdict costs: on pictures of a tenth of a second each, and on such as take longer."""
    for steps in (8, 80):
        trial = Trial(WORK / "validate", steps)
        trial.make(PUBLISH)
        command, bare = trial.judged(PUBLISH, WORK / "out"), Run("both pipelines, bare", trial.bare())
        first = Run("publish validate", command, trial.forget())
        what = f"a verdict on 48 pictures of {steps} steps, digits"
        pairs = PAIRS if steps == 8 else 3
        yield Comparison(f"validate-{steps}", f"{what}, against the bare calls", first, bare, 1.1, pairs=pairs)
        if steps == 8:
            second = Run("publish validate", command)
            yield Comparison("validate-second", f"{what}, for a second target", second, bare, 1.1)


def language() -> Iterator[Comparison]:
    """List what 4 bits of a language model are compared with, where AutoRound is installed."""
    if find_spec("auto_round") is None:
        return
    source, out, home = WORK / "language", WORK / "out", WORK / "home"
    if not (source / "config.json").exists():
        with get_context("spawn").Pool(1) as elsewhere:  # as in `main`
            elsewhere.apply(make_language_model, (source,))
    scheme = ["--backend", "compressed-tensors", "--scheme", "w4a16", "--option", f"group_size={GROUP}"]
    command = [*PUBLISH, "quantize", str(source), "--out", str(out), *scheme, "--home", str(home)]
    rounding = [sys.executable, str(HERE / "language.py"), str(source), str(out)]
    theirs = Run(f"AutoRound {version('auto-round')}, model-free", rounding)
    what = "w4a16, a language model of 0.27 GB, against AutoRound's rounding to nearest"
    yield Comparison("w4a16-language", what, Run("publish quantize w4a16", command), theirs, 1 / 20, memory_limit=0.25)


def peaks() -> dict[str, Any]:
    """Measure the memory of nf4 over the sizes that are there."""
    out = WORK / "out"
    found = {}
    for size in BLOCKS:
        if (WORK / f"source-{size}" / "config.json").exists():
            run = quantize(WORK / f"source-{size}", out, "nf4")
            measured(run, out)
            found[size] = max(measured(run, out).peak_bytes for _ in range(3))
            tell(f"peak memory of nf4, {size} GB: {found[size] / 1e6:.0f} MB")
    return found


def judging() -> Iterator[tuple[str, dict[str, int]]]:
    """Measure the memory in which each target of a model of 0.6 GB is quantized and judged."""
    folder = WORK / "judging"
    if not (folder / "model" / "config.json").exists():
        (folder / "model").mkdir(parents=True)
        with get_context("spawn").Pool(1) as elsewhere:  # as in `main`
            elsewhere.apply(make_model, (folder / "model",))
    for target in TARGETS:
        found = judged(PUBLISH, write_recipe(folder), target, folder / "home")
        tell(f"memory of {target}, 0.6 GB: {found}")
        yield target, found


def compiling() -> dict[str, float]:
    """Measure what a run takes longer without compiled kernels, on a source of nearly no size."""
    out, source = WORK / "out", make_source(WORK / "source-tiny", "tiny")
    cache = {}
    for scheme in SCHEMES:
        run = quantize(source, out, scheme)
        measured(run, out)
        warm = median(measured(run, out).seconds for _ in range(3))
        os.environ["NUMBA_CACHE_DIR"] = str(WORK / "numba")
        shutil.rmtree(WORK / "numba", ignore_errors=True)
        cold = measured(run, out).seconds
        del os.environ["NUMBA_CACHE_DIR"]
        cache[scheme] = round(cold - warm, 2)
        tell(f"compiling for {scheme}: {cache[scheme]} s")
    return cache


def kernels(name: str) -> dict[str, Any]:
    """Measure packings against the functions of their libraries, in a process of its own."""
    command = [sys.executable, "-m", f"benchmarks.{KERNELS[name]}"]
    done = subprocess.run(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True, check=True)
    tell(f"{name}, Mparam/s: {done.stdout}")
    return {"machine": machine(), **json.loads(done.stdout)}


def machine() -> dict[str, Any]:
    """Describe what was measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    versions = {library: version(library) for library in LIBRARIES}
    return {
        "processor": name,
        "features": [feature for feature in FEATURES if feature in flags],
        "cores": os.cpu_count(),
        "memory_bytes": memory,
        "python": platform.python_version(),
        **versions,
    }


def asked(comparison: Comparison, only: set[str]) -> bool:
    """Return whether a comparison is to be made: all are where nothing is asked for, by name or by its first word."""
    return not only or bool(only & {comparison.name, comparison.name.partition("-")[0]})


def tell(text: str) -> None:
    """Say how far it is."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure what was asked for and keep it beside what was measured before."""
    only = set(sys.argv[1:])
    of_verdicts = {name for name in only if name.startswith("validate")}
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"comparisons": {}}
    for name in KERNELS if not only else only & {*KERNELS}:
        results[name] = kernels(name)
        write(results)
    if only and only <= {*KERNELS}:
        return
    WORK.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(WORK / "out", ignore_errors=True)
    of_every_size = not only or "memory" in only
    for size in ("1", "4", "13", "24"):
        needed = {"1": 2, "4": 20, "13": 34, "24": 60}[size] * 10**9
        wanted = [comparison for comparison in comparisons(size) if asked(comparison, only)]
        fits = (WORK / f"source-{size}").exists() or shutil.disk_usage(WORK).free > needed
        if fits and (wanted or of_every_size):
            # Not here: a child begins with the memory of who starts it, and the kernel counts that as its own.
            with get_context("spawn").Pool(1) as elsewhere:
                elsewhere.apply(make_source, (WORK / f"source-{size}", size))
            for comparison in wanted:
                results["comparisons"][comparison.name] = compare(comparison, WORK / "out")
                write(results)
    of_language = language() if not only or "w4a16-language" in only else ()
    for comparison in chain(verdicts() if not only or of_verdicts else (), of_language):
        if asked(comparison, only):
            results["comparisons"][comparison.name] = compare(comparison, WORK / "out")
            write(results)
    if not only or "memory" in only:
        results["peak_bytes_by_gb"] = peaks()
    if not only or "judging" in only:
        for target, found in judging():
            results.setdefault("peak_bytes_judged", {})[target] = found
            write(results)
    if not only or "compiling" in only:
        results["compiling_seconds"] = compiling()
    write(results)


def write(results: dict[str, Any]) -> None:
    """Keep what is known."""
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    write_readme(HERE / "README.md", results)


if __name__ == "__main__":
    main()
