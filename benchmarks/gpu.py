"""What only a GPU can show: schemes that are made there, bytes that are made there too, snippets as they stand, speed.

``make gpu`` needs one CUDA device, 60 GB of disk and eight minutes, takes only what it makes under ``build/gpu`` and
``.publish/gpu``, and writes ``benchmarks/gpu.json`` and the table of ``benchmarks/README.md``. What there was no time
for is said to be so. ``make gpu DRY=--dry-run`` rehearses it with small sizes on any machine, and writes neither.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from source import make_source

HERE = Path(__file__).parent
CHECKOUT = HERE.parent
WORK = CHECKOUT / "build" / "gpu"
RESULTS = HERE / "gpu.json"
PUBLISH = [sys.executable, "-m", "pipeline.cli", "--home", str(WORK / "home")]
BEGIN, END = "<!-- gpu -->", "<!-- end of gpu -->"
SECONDS = 480.0
LONGEST = 150.0  # seconds for one process, so that none takes the others' time
REHEARSAL = 2400.0  # seconds on a machine without a GPU
PROMPT = 512  # tokens of T5 that FLUX.1-dev is asked with
SIDE = 1024  # pixels
# The most asked for first: what there is no time for is left out from the end.
SPEED = (
    ("none", "bfloat16"),
    ("bitsandbytes", "nf4"),
    ("torchao", "int8-weight-only"),
    ("torchao", "float8-dynamic"),
    ("torchao", "int4-weight-only"),
    ("bitsandbytes", "int8"),
    ("torchao", "int8-dynamic"),
    ("torchao", "float8-weight-only"),
    ("quanto", "int8"),
    ("bitsandbytes", "fp4"),
    ("quanto", "float8"),
    ("quanto", "int4"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="rehearse on this machine, with small sizes")
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)  # one process of it, by itself
    asked = parser.parse_args()
    if asked.step:
        name, *words = asked.step
        print(json.dumps(STEPS[name](*words)))
        return 0
    device, size = ("cpu", "tiny") if asked.dry_run else ("cuda", "24")
    WORK.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + (REHEARSAL if asked.dry_run else SECONDS)
    rows = []
    for step in steps(device, size):
        rows.append(seen := {"step": step, **run(step, until)})
        tell(f"{' '.join(step)}: {seen.get('error') or seen['result']} ({seen['seconds']} s)")
    results = {"machine": run(["machine"], until + LONGEST)["result"], "rows": rows}
    if asked.dry_run:
        print(table(results))
        return 0
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    readme = HERE / "README.md"
    before, after = readme.read_text().split(BEGIN)[0], readme.read_text().split(END)[1]
    readme.write_text(f"{before}{BEGIN}\n\n{table(results)}\n{END}{after}")
    return 0


def steps(device: str, size: str) -> Iterator[list[str]]:
    """List what is done, in order, each in a process of its own."""
    from pipeline.backends import BACKENDS

    yield from (["bytes", backend, device] for backend in BACKENDS)
    yield ["source", size]
    if device == "cpu":
        yield from (["speed", *SPEED[0], device, size], ["speed", *SPEED[2], device, size], ["snippets", device])
        return
    yield from (["speed", backend, scheme, device, size] for backend, scheme in SPEED[:3])
    yield ["snippets", device]
    yield from (["speed", backend, scheme, device, size] for backend, scheme in SPEED[3:])


def run(step: Sequence[str], until: float) -> dict[str, Any]:
    """Run one step and return what it found, or why it found nothing."""
    began = time.monotonic()
    left = until - began if "cpu" in step else min(until - began, LONGEST)
    if left < 5:
        return {"error": "no time was left", "seconds": 0}
    command = [sys.executable, str(HERE / "gpu.py"), "--step", *step]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        said, complained = child.communicate(timeout=left)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)  # what it started holds the GPU's memory, too
        child.communicate()
        return {"error": f"it did not end in {left:.0f} s", "seconds": round(left)}
    seconds = round(time.monotonic() - began, 1)
    if child.returncode:
        return {"error": (complained.strip().splitlines() or [str(child.returncode)])[-1], "seconds": seconds}
    return {"result": json.loads(said.splitlines()[-1]), "seconds": seconds}


def compare_bytes(backend: str, device: str) -> dict[str, str]:
    """Quantize one weight by each scheme of a library on a CPU and on a device, and say what differs."""
    import torch

    from pipeline.backends import BACKENDS

    module = BACKENDS[backend]
    weight = torch.randn(1024, 2048, generator=torch.Generator().manual_seed(0)).mul(0.02).bfloat16()

    def packed(scheme: str, place: str) -> dict[str, bytes]:
        options = module.SCHEMES[scheme].options().model_dump(mode="json")
        made = module.pack(scheme, options, "layer.weight", weight.to(place)).tensors
        return {
            name: value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            for name, value in made.items()
        }

    def compared(scheme: str) -> str:
        try:
            there = packed(scheme, device)
            if module.SCHEMES[scheme].makes_on == "cuda":
                return "made on the GPU only"
            here = packed(scheme, "cpu")
        except Exception as error:  # whatever a library raises is what there is to know of this scheme
            return f"{type(error).__name__}: {error}"
        return ", ".join(differences(here, there)) or "equal"

    return {scheme: compared(scheme) for scheme in module.SCHEMES}


def differences(here: dict[str, bytes], there: dict[str, bytes]) -> Iterator[str]:
    """Tell each tensor that is not the same in both."""
    for name in sorted(here.keys() | there.keys()):
        one, other = here.get(name, b""), there.get(name, b"")
        if len(one) != len(other):
            yield f"{name} has {len(one)} and {len(other)} bytes"
        elif one != other:
            yield f"{name} in {sum(a != b for a, b in zip(one, other, strict=True)) / len(one):.2%} of its bytes"


def snippets(device: str) -> dict[str, Any]:
    """Publish the digits with whatever this machine has: a release runs its card's snippet, unlifted where it can."""
    targets = ("torchao-int8",) if device == "cpu" else ()
    sys.path.insert(0, str(CHECKOUT / "recipes" / "digits"))
    from huggingface_hub import HfApi
    from push import push

    from localhub.server import running

    home = CHECKOUT / ".publish" / "gpu"
    with running(home / "hub") as endpoint:
        os.environ |= {"HF_ENDPOINT": endpoint, "HF_TOKEN": "local"}
        push(HfApi(endpoint=endpoint))
        recipe = CHECKOUT / "recipes" / "digits" / "recipe.yaml"
        command = [sys.executable, "-m", "pipeline.cli", "--json", "--home", str(home), "run", str(recipe)]
        command += [word for target in targets for word in ("--target", target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    told = [line.get("text", "") for line in lines if "snippet" in line.get("text", "")]
    return {"exit": done.returncode, "told": told, "outcomes": [line for line in lines if "target" in line]}


def source(size: str) -> dict[str, Any]:
    """Write the source that is quantized: layers of FLUX.1-dev, normal values."""
    return {"folder": str(make_source(WORK / f"source-{size}", size))}


def speed(backend: str, scheme: str, device: str, size: str) -> dict[str, Any]:
    """Quantize the transformer, load it as a consumer does, and time its forward pass as it is and compiled."""
    import torch
    from diffusers import FluxTransformer2DModel

    from pipeline.backends import BACKENDS

    folder, out = WORK / f"source-{size}", WORK / "out"
    shutil.rmtree(out, ignore_errors=True)
    loaders = []
    if backend != "none":
        subprocess.run(
            [*PUBLISH, "quantize", str(folder), "--out", str(out), "--backend", backend, "--scheme", scheme],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        loaders = [BACKENDS[backend].LOADERS["diffusers"]]
        folder = out
    for loader in loaders:
        loader.learn()
        assert device in loader.devices, f"diffusers does not load it on {device}"
    model = FluxTransformer2DModel.from_pretrained(folder, dtype=torch.bfloat16, device_map=device)
    shutil.rmtree(out, ignore_errors=True)
    inputs = asked(model.config, device, SIDE if device == "cuda" else 64)
    on_gpu, found = device == "cuda", dict[str, Any]()
    if on_gpu:
        found["weights_bytes"] = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    with torch.inference_mode():
        found["eager"] = timed(lambda: model(**inputs), device)
        if on_gpu:
            found["peak_bytes"] = torch.cuda.max_memory_allocated()
        model.compile_repeated_blocks(fullgraph=False)
        try:
            found["compiled"] = timed(lambda: model(**inputs), device)
        except Exception as error:  # a library's compiler may raise anything, and what was timed before counts
            found["not_compiled"] = f"{type(error).__name__}: {error}".splitlines()[0]
    return found


def asked(config: Any, device: str, side: int) -> dict[str, Any]:
    """Return one call's tensors: as many tokens as a square picture has, and a prompt of full length."""
    import torch

    tokens = (side // 16) ** 2
    like = {"device": device, "dtype": torch.bfloat16}
    return {
        "hidden_states": torch.randn(1, tokens, config.in_channels, **like),
        "encoder_hidden_states": torch.randn(1, PROMPT, config.joint_attention_dim, **like),
        "pooled_projections": torch.randn(1, config.pooled_projection_dim, **like),
        "timestep": torch.full((1,), 0.5, **like),
        "guidance": torch.full((1,), 3.5, device=device),
        "img_ids": torch.zeros(tokens, 3, **like),
        "txt_ids": torch.zeros(PROMPT, 3, **like),
    }


def timed(call: Callable[[], Any], device: str) -> float:
    """Return the median milliseconds of a call, after three that warm up."""
    import torch

    def once() -> float:
        began = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    times = sorted([once() for _ in range(13 if device == "cuda" else 4)][3:])
    return round(1000 * times[len(times) // 2], 1)


def machine() -> dict[str, Any]:
    """Describe what was measured on."""
    import torch
    from bench import LIBRARIES, version

    gpu = torch.cuda.get_device_properties(0) if torch.cuda.is_available() else None
    found = {"gpu": gpu.name, "memory_bytes": gpu.total_memory} if gpu else {"gpu": "none"}
    return found | {"cuda": torch.version.cuda} | {name: version(name) for name in LIBRARIES}


STEPS: dict[str, Callable[..., dict[str, Any]]] = {
    "bytes": compare_bytes,
    "source": source,
    "speed": speed,
    "snippets": snippets,
    "machine": machine,
}


def table(results: dict[str, Any]) -> str:
    """Return everything that was seen, in Markdown."""
    about = ", ".join(f"{name} {value}" for name, value in results["machine"].items() if name != "memory_bytes")
    lines = [f"Machine: {about}.", "", "| backend | scheme | bytes, CPU and GPU |", "| --- | --- | --- |"]
    for words, row in of("bytes", results):
        found = row.get("result") or {"": row["error"]}
        lines += [f"| {words[0]} | {scheme} | {what} |" for scheme, what in found.items()]
    lines += ["", "| backend | scheme | weights | peak | ms a forward pass | compiled | |", "| --- " * 7 + "|"]
    for words, row in of("speed", results):
        found = row.get("result", {})
        cells = [f"{found[key] / 1e9:.1f} GB" if key in found else "" for key in ("weights_bytes", "peak_bytes")]
        cells += [f"{found[key]:.0f}" if key in found else "" for key in ("eager", "compiled")]
        lines.append(
            f"| {words[0]} | {words[1]} | {' | '.join(cells)} | {row.get('error') or found.get('not_compiled', '')} |"
        )
    for _, row in of("snippets", results):
        lines += ["", "The digits, published there: " + (row.get("error") or told(row["result"])) + "."]
    return "\n".join(lines) + "\n"


def of(step: str, results: dict[str, Any]) -> list[tuple[list[str], dict[str, Any]]]:
    """Return the rows of a step with its words."""
    return [(row["step"][1:], row) for row in results["rows"] if row["step"][0] == step]


def told(found: dict[str, Any]) -> str:
    """Say what became of the targets."""
    what = "; ".join(sorted({*found["told"]}))
    return f"exit code {found['exit']}; {len(found['told'])} releases told of their snippet ({what})"


def tell(text: str) -> None:
    """Say how far it is."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
