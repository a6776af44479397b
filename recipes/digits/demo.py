"""The whole path on this machine: an embedded Hub, the digits on it, every target published, loaded, read and reported.

Then the same of a real sentence embedder and a real Whisper, whose weights packages carry.

Usage: python demo.py [--home DIR]; the home holds the Hub and the results, ``.publish/demo`` of the checkout by default
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Read by huggingface_hub and torch when they are imported, here and in every child.
os.environ |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TORCH_LOGS": "-all"}

import numpy as np
from huggingface_hub import HfApi
from PIL import Image
from push import push

from localhub.server import running
from pipeline.files import human_size
from pipeline.tasks.images.labels import open_classifier

HERE = Path(__file__).parent
MINILM = HERE.parent / "minilm"
SPEECH = HERE.parent / "speech"
CHECKOUT = HERE.parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description="Publish the digits recipe to an embedded Hub and load the results.")
    parser.add_argument("--home", type=Path, default=CHECKOUT / ".publish" / "demo")
    home = parser.parse_args().home.resolve()
    logging.getLogger().addHandler(logging.NullHandler())  # what libraries tell of themselves
    began = time.monotonic()
    with running(home / "hub") as endpoint:
        os.environ |= {"HF_ENDPOINT": endpoint, "HF_TOKEN": "local"}
        print(f"The embedded Hub is at {endpoint}; the source is its commit {push(HfApi(endpoint=endpoint))[:12]}.")
        results = publish(home, HERE)
        if results is None:
            return 1
        rows = [{**result, **load(result["repository"])} for result in results]
        show(rows)
        report(home)
        embedders = embed(home)
        if embedders is None:
            return 1
        table(embedders, "least cosine as strangers load it", lambda found: f"{found['cosine']:.4f}")
        listeners = listen(home)
        if listeners is None:
            return 1
        table(listeners, "clips heard as the source hears them", lambda found: f"{found['same']} of {found['of']}")
    print(f"\nDone in {time.monotonic() - began:.0f} s. `publish --home {short(home)} serve` shows the Hub again.")
    return 0


def publish(home: Path, recipe: Path, *targets: str) -> list[dict[str, Any]] | None:
    """Run a folder's recipe, whole or some targets of it, and return what became of them, or None if one failed."""
    command = [sys.executable, "-m", "pipeline.cli", "--json", "--home", str(home), "run", str(recipe / "recipe.yaml")]
    command += [f"--target={target}" for target in targets]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return lines[-1]["result"] if done.returncode == 0 else None


def report(home: Path) -> None:
    """Write the page on each target's verdict and name them all."""
    pages = home / "reports"
    command = [sys.executable, "-m", "pipeline.cli", "--home", str(home), "report", str(HERE / "recipe.yaml")]
    done = subprocess.run([*command, "--out", str(pages)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"The pages could not be written:\n{done.stderr}")
    print(f"How each was judged, with all pictures and numbers, in a browser: {short(pages)}/report-TARGET.html")


def load(repository: str) -> dict[str, Any]:
    """Load a repository in a process that knows the Hub's address and nothing else, and read what it draws."""
    print(f"Loading {repository} as a stranger would ...", flush=True)
    with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryDirectory() as drawn:
        stranger = {name: os.environ[name] for name in ("HF_ENDPOINT", "PATH")}
        stranger |= {"HF_HOME": cache, "HOME": cache}
        command = [sys.executable, str(HERE / "stranger.py"), repository, drawn]
        done = subprocess.run(command, env=stranger, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{repository} does not load:\n{done.stderr}")
        pictures = [Image.open(path).convert("RGB") for path in sorted(Path(drawn).iterdir())]
    labels = [json.loads(line)["label"] for line in (HERE / "prompts.jsonl").read_text().splitlines()]
    read = open_classifier(HERE / "classifier").read
    right = sum(read(picture) == label for picture, label in zip(pictures, labels, strict=True))
    return {"read": right, "of": len(labels)}


def embed(home: Path) -> list[dict[str, Any]] | None:
    """Publish the embedder, and compare what a stranger gets of each target with what its source makes."""
    subprocess.run([sys.executable, str(MINILM / "source.py")], check=True)
    results = publish(home, MINILM)
    if results is None:
        return None
    source = embeddings(str(MINILM / "source"))
    for result in results:
        print(f"Loading {result['repository']} as a stranger would ...", flush=True)
        result["cosine"] = float(np.min((embeddings(result["repository"]) * source).sum(1)))
    return results


def embeddings(model: str) -> Any:
    """Return what a stranger's process makes of the recipe's sentences: unit vectors, shape (sentences, dimensions)."""
    with tempfile.TemporaryDirectory() as cache:
        stranger = {name: os.environ[name] for name in ("HF_ENDPOINT", "PATH")} | {"HF_HOME": cache, "HOME": cache}
        made = Path(cache) / "embeddings.npy"
        command = [sys.executable, str(MINILM / "stranger.py"), model, str(made)]
        done = subprocess.run(command, env=stranger, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{model} does not load:\n{done.stderr}")
        found = np.load(made)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def listen(home: Path) -> list[dict[str, Any]] | None:
    """Publish the Whisper that `make speech` laid out as a graph, and compare what a stranger hears with both."""
    results = publish(home, SPEECH, "onnx-int8")
    if results is None:
        return None
    source = heard(str(SPEECH / "source"))
    for result in results:
        print(f"Loading {result['repository']} as a stranger would ...", flush=True)
        found = heard(result["repository"])
        result |= {"same": sum(map(str.__eq__, found, source)), "of": len(source)}
    return results


def heard(model: str) -> list[str]:
    """Return what a stranger's process hears in the first of the recipe's clips."""
    with tempfile.TemporaryDirectory() as cache:
        stranger = {name: os.environ[name] for name in ("HF_ENDPOINT", "PATH")} | {"HF_HOME": cache, "HOME": cache}
        made = Path(cache) / "heard.json"
        command = [sys.executable, str(SPEECH / "stranger.py"), model, str(made)]
        done = subprocess.run(command, env=stranger, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{model} does not load:\n{done.stderr}")
        found: list[str] = json.loads(made.read_text())
    return found


def table(results: list[dict[str, Any]], last: str, tell: Callable[[dict[str, Any]], str]) -> None:
    """Say which repositories are there, how large, and in the last column what a stranger got of each."""
    widths = max(len(result["repository"]) for result in results)
    print(f"\n{'repository':{widths}}  tag  {'size of source':>22}  verdict  {last}")
    for result in results:
        sizes = f"{human_size(result['result_bytes'])} of {human_size(result['source_bytes'])}"
        share = f"{sizes} {result['result_bytes'] / result['source_bytes']:4.0%}"
        verdict = result["verdict"] or result["state"]
        print(f"{result['repository']:{widths}}  {result['tag']:3}  {share:>22}  {verdict:7}  {tell(result)}")


def show(rows: list[dict[str, Any]]) -> None:
    """Say what is now where, and how to load it."""
    table(rows, "digits read", lambda row: f"{row['read']} of {row['of']}")
    print("\nWith HF_ENDPOINT set to the Hub's address, this loads any of them (bitsandbytes on a GPU only):\n")
    print("    import torch")
    print("    from diffusers import DiffusionPipeline")
    print(f'    pipe = DiffusionPipeline.from_pretrained("{rows[-1]["repository"]}", dtype=torch.bfloat16)')
    print("\nThe card of each has a whole example, and publish/usage.py in its repository is that example as a file.")


def short(path: Path) -> str:
    """Return a path relative to here where that is shorter."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    sys.exit(main())
