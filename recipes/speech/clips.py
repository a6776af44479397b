"""Make the clips that prompts.jsonl names, and that file.

People speak in what Debian's pocketsphinx-testdata has (LibriVox readings among it, which are in the public domain),
espeak-ng says the rest; in three clips nothing is said, and one is longer than the half minute that Whisper hears at
once. The first 27 have all of these kinds; the others, in several voices, are there for limits to settle. `make speech`
installs both packages.
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
MORE = [
    "We took the wrong road and had to turn around at the bridge.",
    "Do not forget to lock the door when you leave.",
    "The children were playing in the garden until it got dark.",
    "The museum is closed on Mondays, but the park is always open.",
    "He has been waiting for an answer since last winter.",
    "The teacher wrote the question on the board and waited.",
    "The new library has more than a hundred thousand books.",
    "Could you turn down the music, please?",
    "We missed the last bus and walked home in the rain.",
    "An engineer explained to us how the machine works.",
    "Nobody knew who had left the umbrella in the hall.",
    "The village lies at the foot of a high mountain.",
    "She speaks four languages and is learning another one.",
    "The window was broken, and there was glass on the floor.",
    "You can pay with a card or with money.",
    "He cut the bread into thick slices and spread butter on them.",
    "The ship will arrive in the harbor tomorrow at noon.",
    "It takes ten minutes to walk from here to the school.",
    "Please write your name and your address on this paper.",
    "Two men carried the heavy table down the stairs.",
    "The telephone rang while she was in the bath.",
    "In the past people traveled on horses or on foot.",
    "There are five bottles of water in the kitchen.",
    "The judge listened to both sides and said nothing.",
    "My father taught me how to catch fish when I was a boy.",
    "She lost her ring on the beach and found it the next day.",
    "Every student needs a pencil, a ruler and a piece of paper.",
    "The wind was so strong that it blew down the fence.",
    "He promised to call us when the plane had landed.",
    "We watched the stars from the top of the hill.",
    "The water in the pot is boiling, so put in the rice.",
    "You should drink more water when the weather is hot.",
    "The two friends had not seen each other for twenty years.",
    "A long line of people waited in front of the theater.",
    "The painter mixed a little white into the green.",
    "She put the keys in her pocket and closed the gate.",
    "It was raining, so the game was played on another day.",
    "The children asked their teacher many questions about the moon and the stars.",
    "When the guests had gone, we washed the dishes and cleaned the kitchen.",
    "She has lived in this city for ten years and knows every street.",
    "The captain told the passengers that the ship would be a little late.",
    "If you have time tomorrow, we could go to the market together.",
    "My uncle gave me an old clock that belonged to his grandfather.",
    "The program begins at eight o'clock and ends at half past nine.",
    "There was so much traffic that we arrived an hour late.",
    "The company wants to build a new factory near the airport.",
    "He read the newspaper from the first page to the last.",
    "The students will write their examination in the first week of June.",
    "We would be happy to see you again in the summer.",
    "The president of the club thanked all members for their help.",
    "In the evening the whole family sat around the table and talked.",
    "She wants to become a doctor and work in a hospital.",
    "The police found the stolen car in a small street behind the station.",
    "I have never seen such a beautiful garden in my life.",
]
VOICE = ("en-us", 150)  # of espeak-ng, and words a minute
VOICES = [
    ("en-us+klatt", 140),
    ("en-gb", 130),
    ("en-us+m3", 140),
    ("en-gb+klatt", 150),
    ("en-us", 125),
    ("en-us+klatt2", 130),
    ("en-gb-x-rp+klatt", 140),
    ("en-us+klatt", 165),
]


def main() -> None:
    """Write all clips, and the file that names them."""
    shutil.rmtree(HERE / "clips", ignore_errors=True)
    (HERE / "clips").mkdir()
    lines = [*recorded(), *spoken(), *silent()]
    readings = [line for line in lines if line["audio"].startswith("clips/reading")]
    lines += [long([*readings, *readings[-2:]]), *varied()]
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
    """Have sentences spoken by one voice."""
    for number, said in enumerate(SPOKEN):
        yield voiced(f"clips/spoken-{number}.wav", said, *VOICE)


def varied() -> Iterator[dict[str, str]]:
    """Have sentences spoken by several voices in turn, with half a second before and behind, as of a recording."""
    for number, said in enumerate(MORE):
        line = voiced(f"clips/voice-{number}.wav", said, *VOICES[number % len(VOICES)])
        rate, samples = wavfile.read(HERE / line["audio"])
        yield clip(f"voice-{number}", np.pad(samples, rate // 2), said, rate)


def voiced(name: str, said: str, voice: str, speed: int) -> dict[str, str]:
    """Have espeak-ng say something, at the 22,050 samples a second that it makes, and return the clip's line."""
    subprocess.run(["espeak-ng", "-v", voice, "-s", str(speed), "-w", HERE / name, said], check=True)  # noqa: S607
    return {"audio": name, "transcript": said}


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
