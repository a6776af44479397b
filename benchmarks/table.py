"""Writes the measured tables into benchmarks/README.md, between two marks."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

from judging import QUANTIZING

MEASURED, BLOCKS = ("<!-- measured -->", "<!-- end -->"), ("<!-- blocks -->", "<!-- end of blocks -->")


def write_readme(path: Path, results: dict[str, Any]) -> None:
    """Replace what stands between the marks."""
    text = path.read_text()
    for (begin, end), written in ((MEASURED, tables(results)), (BLOCKS, blocks(results["gguf"]))):
        text = f"{text.split(begin)[0]}{begin}\n{written}{end}{text.split(end)[1]}"
    path.write_text(text)


def blocks(found: dict[str, Any]) -> str:
    """Return what was measured of the kernels of GGUF, in Markdown."""
    lines = [
        f"\nMachine: {found['machine']['processor']}, {found['machine']['cores']} cores; of what kernels use, it has "
        f"{', '.join(found['machine']['features']) or 'nothing'}. Millions of values a second, on one thread; "
        f"compiling all kernels takes {found['compiling_seconds']:.0f} s of it, once a machine.\n",
        "| type | ours | ggml | ratio, median (least, most) | of bfloat16: ours | ggml | ratio | to reach | met "
        "| unpacking |",
        "| --- | ---: | ---: | --- | ---: | ---: | --- | --- | --- | ---: |",
    ]
    for name, one in found["types"].items():
        kinds, wanted = (one, one["bfloat16"]), one["to_reach"]
        speeds = " | ".join(f"{kind['ours']:.0f} | {kind['ggml']:.1f} | {spread(kind['ratios'])}" for kind in kinds)
        least = min(median(kind["ratios"]) for kind in kinds)
        reached = f"{wanted} | {'yes' if least >= wanted else '**no**'}" if wanted else "|"
        lines.append(f"| {name} | {speeds} | {reached} | {one['decoding']:.0f} |")
    return "\n".join([*lines, "", ""])


def spread(ratios: list[float]) -> str:
    """Return the median of sorted ratios between the least and the most."""
    return f"**{median(ratios):.1f}** ({ratios[0]:.1f}, {ratios[-1]:.1f})"


def tables(results: dict[str, Any]) -> str:
    """Return everything that was measured, in Markdown."""
    lines = [""]
    comparisons = results["comparisons"].values()
    for machine in dict.fromkeys(described(one["machine"]) for one in comparisons):
        lines += [
            machine,
            "",
            "| what | ours, median | the other, median | ratio, median (all) | to reach | met "
            "| memory: ours, the other |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *(row(one) for one in comparisons if described(one["machine"]) == machine),
            "",
        ]
    if found := results.get("peak_bytes_by_gb"):
        sizes = "; ".join(f"{size} GB source: {peak / 1e6:.0f} MB" for size, peak in found.items())
        lines += [f"Peak memory of nf4, the process and its children: {sizes}.\n"]
    if found := results.get("peak_bytes_judged"):
        lines += [
            "| a model of 0.6 GB | quantizing, to reach 600 MB | quantizing and judging | to reach | met |",
            "| --- | --- | --- | --- | --- |",
            *(judged(target, one) for target, one in found.items()),
            "",
        ]
    if found := results.get("kernels"):
        lines += [
            f"Of one processor's time, on {found['machine']['processor']} with "
            f"{', '.join(found['machine']['features'])}:\n",
            "| packing, a matrix of 3072 x 3072 in bfloat16 | ours, Mparam/s | its library, Mparam/s "
            "| times faster, median (all) |",
            "| --- | ---: | ---: | --- |",
            *(packed(name, one) for name, one in found["packings"].items()),
            "",
        ]
    if found := results.get("compiling_seconds"):
        schemes = "; ".join(f"{scheme} {seconds:.1f} s" for scheme, seconds in found.items())
        lines += [f"A run without compiled kernels takes longer by: {schemes}.\n"]
    return "\n".join(lines)


def described(machine: dict[str, Any]) -> str:
    """Return a machine and its libraries in a sentence or two."""
    libraries = ", ".join(f"{name} {found}" for name, found in machine.items() if name not in ABOUT)
    return (
        f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['memory_bytes'] / 1e9:.0f} GB memory; "
        f"Python {machine['python']}, {libraries}. Of what hashes and kernels use, the processor has "
        f"{', '.join(machine['features']) or 'nothing'}."
    )


ABOUT = ("processor", "features", "cores", "memory_bytes", "python")


def row(one: dict[str, Any]) -> str:
    """Return one comparison as a row."""
    ours, other = one["ours"], one["other"]
    ratios = ", ".join(f"{ratio:.2f}" for ratio in one["ratios"])
    memory = f"{ours['peak_bytes'] / 1e6:.0f} MB, {other['peak_bytes'] / 1e6:.0f} MB"
    idle = f", each after {one['idle_seconds']:.0f} idle seconds" if one["idle_seconds"] else ""
    reached = f"{one['limit']:.2f}" + (f"; memory {one['memory_limit']}" if one["memory_limit"] else "")
    return (
        f"| {one['what']}{idle} | {ours['median_seconds']:.1f} s | {other['median_seconds']:.1f} s ({other['name']}) "
        f"| **{one['ratio']:.2f}** ({ratios}) | {reached} | {'yes' if met(one) else '**no**'} | {memory} |"
    )


def packed(name: str, one: dict[str, Any]) -> str:
    """Return one packing and its library as a row."""
    ratios = ", ".join(f"{ratio:.1f}" for ratio in one["ratios"])
    return f"| {name} | {one['ours']} | {one['other']} | **{median(one['ratios']):.1f}** ({ratios}) |"


def judged(target: str, one: dict[str, int]) -> str:
    """Return the memory of one target as a row."""
    reached = one["quantizing"] <= QUANTIZING and one["judging"] <= one["limit"]
    megabytes = [f"{one[name] / 1e6:.0f} MB" for name in ("quantizing", "judging", "limit")]
    return f"| {target} | {' | '.join(megabytes)} | {'yes' if reached else '**no**'} |"


def met(one: dict[str, Any]) -> bool:
    """Return whether a comparison reached what it is to reach, in time and in memory."""
    lean = one["memory_limit"] is None or one["memory_ratio"] <= one["memory_limit"]
    return bool(one["ratio"] <= one["limit"] and lean)
