"""A model of 0.6 GB, quantized and judged: the memory of a command and all that it starts, shared pages once."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

WORDS = [f"w{number}" for number in range(30_000)]
TARGETS = {
    "bnb-nf4": {"backend": "bitsandbytes", "scheme": "nf4"},
    "bnb-int8": {"backend": "bitsandbytes", "scheme": "int8"},
    "torchao-int8": {"backend": "torchao", "scheme": "int8-weight-only"},
}
BESIDE = 500 * 10**6  # bytes that judging may take beside source and result
QUANTIZING = 600 * 10**6
PAUSE = 0.02  # seconds between two looks


def make_model(folder: Path) -> None:
    """Write a BERT of random weights in bfloat16, as transformers saves it, with a tokenizer of made-up words."""
    import torch
    from transformers import BertConfig, BertModel

    size = write_tokenizer(folder)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    sizes = {"hidden_size": 1024, "num_hidden_layers": 21, "num_attention_heads": 16, "intermediate_size": 4096}
    BertModel(BertConfig(vocab_size=size, **sizes)).save_pretrained(folder)


def write_tokenizer(folder: Path) -> int:
    """Write a tokenizer of made-up words, and return how many tokens it has."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: at for at, word in enumerate(["<unk>", "[PAD]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    return len(vocabulary)


def write_recipe(folder: Path) -> Path:
    """Write the recipe of all targets, beside its source."""
    prompts = [{"prompt": " ".join(WORDS[(7919 * at * step) % len(WORDS)] for step in range(16))} for at in range(24)]
    (folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, prompts)))
    written = {
        "source": {"path": "model"},
        "task": "feature-extraction",
        "destination": {"namespace": "bench"},
        "targets": {name: {"model": quantization} for name, quantization in TARGETS.items()},
        "validation": {"prompts": "prompts.jsonl", "require": {"cosine_similarity": {"min": 0.5}}},
        "card": {"template": "feature-extraction"},
    }
    (folder / "recipe.yaml").write_text(json.dumps(written))
    return folder / "recipe.yaml"


def peak(command: list[str]) -> int:
    """Run a command and return the most bytes that it and its descendants had resident together."""
    most, child = 0, subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while child.poll() is None:
        most = max(most, sum(map(proportional, family(child.pid))))
        time.sleep(PAUSE)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {child.returncode}")
    return most


def family(root: int) -> list[int]:
    """Return a process and all its descendants."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it is gone
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = [root]
    for process in found:
        found += children.get(process, [])
    return found


def proportional(process: int) -> int:
    """Return the bytes of a process that are resident, each shared one as a share of it (PSS of proc(5))."""
    with suppress(OSError):
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return 0


def judged(publish: list[str], recipe: Path, target: str, home: Path) -> dict[str, int]:
    """Measure a target, from nothing: up to its checkpoint, then up to its card in one command."""
    taken = {}
    for stage in ("quantize", "card"):
        shutil.rmtree(home, ignore_errors=True)
        stop = ["--target", target, "--stop-after", stage, "--hub", "local", "--home", str(home)]
        taken[stage] = peak([*publish, "run", str(recipe), *stop])
    (report,) = (home / "store" / "release").glob("*/publish/report.json")
    sizes = json.loads(report.read_text())["sizes"]
    limit = sizes["source"] + sizes["result"] + BESIDE
    return {"quantizing": taken["quantize"], "judging": taken["card"], "limit": limit}
