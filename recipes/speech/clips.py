"""Make the clips that prompts.jsonl names, and that file.

People speak in what Debian's pocketsphinx-testdata has (LibriVox readings among it, which are in the public domain),
espeak-ng says the rest; in three clips nothing is said, and one is longer than the half minute that Whisper hears at
once. `make speech` installs both packages.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import wavfile

HERE = Path(__file__).parent
RECORDED = Path("/usr/share/pocketsphinx/test/data")
RATE = 16_000
RAW = {
    "goforward.raw": "go forward ten meters",
    "something.raw": "go somewhere and do something",
    "tidigits/dhd.2934z.raw": "two nine three four zero",
}
SPOKEN = [
    "The train to the coast leaves at half past seven from the second platform.",
    "Please put the blue folder back on the shelf beside the window.",
    "My sister has planted three apple trees behind her new house.",
    "It will rain in the morning, and the sun will shine in the afternoon.",
    "We need two hundred grams of flour and a little salt.",
    "The old man walked slowly along the river with his dog.",
    "Can you tell me how to get to the railway station?",
    "The meeting was moved from Monday to Thursday because of the holiday.",
    "She opened the letter, read it twice and put it into the fire.",
    "Most birds in this forest sing before the sun rises.",
]


def main() -> None:
    """Write all clips, and the file that names them."""
    shutil.rmtree(HERE / "clips", ignore_errors=True)
    (HERE / "clips").mkdir()
    lines = [*recorded(), *spoken(), *silent()]
    readings = [line for line in lines if line["audio"].startswith("clips/reading")]
    lines.append(long([*readings, *readings[-2:]]))
    (HERE / "prompts.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def recorded() -> Iterator[dict[str, str]]:
    """Copy what people said."""
    for folder, name in (("librivox", "reading"), ("cards", "cards")):
        transcripts = (
            RECORDED / folder / ("transcription" if name == "reading" else "cards.transcription")
        ).read_text()
        for said, file in re.findall(r"<s> (.*?) +</s> \((.*)\)", transcripts):
            rate, samples = wavfile.read(RECORDED / folder / f"{file}.wav")
            yield clip(f"{name}-{file[-4:]}", samples, said, rate)
    for file, said in RAW.items():
        yield clip(Path(file).stem, np.fromfile(RECORDED / file, "<i2"), said)


def spoken() -> Iterator[dict[str, str]]:
    """Have sentences spoken, at the 22,050 samples a second that espeak-ng makes."""
    for number, said in enumerate(SPOKEN):
        name = f"clips/spoken-{number}.wav"
        subprocess.run(["espeak-ng", "-v", "en-us", "-s", "150", "-w", HERE / name, said], check=True)  # noqa: S607
        yield {"audio": name, "transcript": said}


def silent() -> Iterator[dict[str, str]]:
    """Make clips in which nothing is said: silence, noise, and the hum of a wire."""
    noise = np.random.default_rng(0).normal(scale=800, size=4 * RATE)
    hum = 1500 * np.sin(2 * np.pi * 50 * np.arange(4 * RATE) / RATE)
    for name, samples in {"silence": np.zeros(3 * RATE), "noise": noise, "hum": hum}.items():
        yield clip(name, samples.astype("<i2"), "")


def long(lines: list[dict[str, str]]) -> dict[str, str]:
    """Join clips with half a second between them."""
    parts = [part for line in lines for part in (wavfile.read(HERE / line["audio"])[1], np.zeros(RATE // 2, "<i2"))]
    return clip("long", np.concatenate(parts), " ".join(line["transcript"] for line in lines))


def clip(name: str, samples: np.ndarray[Any, Any], said: str, rate: int = RATE) -> dict[str, str]:
    """Write a clip, and return its line."""
    wavfile.write(HERE / "clips" / f"{name}.wav", rate, samples)
    return {"audio": f"clips/{name}.wav", "transcript": said}


if __name__ == "__main__":
    main()
