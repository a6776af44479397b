"""Load an embedder as anybody does, and write what it makes of the recipe's sentences.

Usage: python stranger.py FOLDER_OR_REPOSITORY FILE.npy; it knows nothing of this program
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import file_exists, hf_hub_download

GRAPH = "onnx/model_quantized.onnx"


def main() -> None:
    lines = (Path(__file__).parent / "prompts.jsonl").read_text().splitlines()
    model, texts = sys.argv[1], [json.loads(line)["prompt"] for line in lines]
    plain = Path(model).is_dir() or not file_exists(model, GRAPH)
    np.save(sys.argv[2], (by_sentence_transformers if plain else by_onnxruntime)(model, texts).astype(np.float32))


def by_sentence_transformers(model: str, texts: list[str]) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(model).encode(texts, show_progress_bar=False)


def by_onnxruntime(model: str, texts: list[str]) -> Any:
    """Without torch: the mean of what the graph says of each token."""
    from onnxruntime import InferenceSession
    from transformers import AutoTokenizer

    session = InferenceSession(hf_hub_download(model, GRAPH))
    tokens = AutoTokenizer.from_pretrained(model)(texts, padding=True, truncation=True, return_tensors="np")
    (states,) = session.run(None, {entry.name: tokens[entry.name] for entry in session.get_inputs()})
    mask = tokens["attention_mask"][..., None]
    return (states * mask).sum(1) / mask.sum(1)


if __name__ == "__main__":
    main()
