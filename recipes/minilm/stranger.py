"""Load an embedder as anybody does, and write what it makes of the recipe's sentences.

Usage: python stranger.py FOLDER_OR_REPOSITORY FILE.npy; it knows nothing of this program
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer


def main() -> None:
    lines = (Path(__file__).parent / "prompts.jsonl").read_text().splitlines()
    texts = [json.loads(line)["prompt"] for line in lines]
    np.save(sys.argv[2], SentenceTransformer(sys.argv[1]).encode(texts, show_progress_bar=False).astype(np.float32))


if __name__ == "__main__":
    main()
