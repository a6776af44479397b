"""Load a speech recognizer as anybody does, and write what it hears in the recipe's clips.

Usage: python stranger.py FOLDER_OR_REPOSITORY FILE.json; it knows nothing of this program
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from scipy.io import wavfile
from scipy.signal import resample_poly
from transformers import pipeline

HERE = Path(__file__).parent
RATE = 16_000


def main() -> None:
    pipe = pipeline("automatic-speech-recognition", model=sys.argv[1], device_map="cpu")
    heard = []
    for line in (HERE / "prompts.jsonl").read_text().splitlines():
        rate, samples = wavfile.read(HERE / json.loads(line)["audio"])
        sound = resample_poly(samples / 32768, RATE, rate).astype(np.float32)
        clip = {"raw": sound, "sampling_rate": RATE}
        heard.append(pipe(clip, return_timestamps=len(sound) > 30 * RATE)["text"])
    Path(sys.argv[2]).write_text(json.dumps(heard))


if __name__ == "__main__":
    main()
