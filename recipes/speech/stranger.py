"""Load a speech recognizer as anybody does, and write what it hears in the first of the recipe's clips.

Usage: python stranger.py FOLDER_OR_REPOSITORY FILE.json; it knows nothing of this program
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import wavfile
from scipy.signal import resample_poly

HERE = Path(__file__).parent
RATE = 16_000
WINDOW = 30 * RATE
CLIPS = 27  # people, one voice of espeak-ng, silence, and more than is heard at once
Listener = Callable[[np.ndarray[Any, Any]], str]


def main() -> None:
    listen = by_transformers(sys.argv[1]) if Path(sys.argv[1]).is_dir() or not is_graph() else by_onnxruntime()
    heard = []
    for line in (HERE / "prompts.jsonl").read_text().splitlines()[:CLIPS]:
        rate, samples = wavfile.read(HERE / json.loads(line)["audio"])
        heard.append(listen(resample_poly(samples / 32768, RATE, rate).astype(np.float32)).strip())
    Path(sys.argv[2]).write_text(json.dumps(heard))


def is_graph() -> bool:
    from huggingface_hub import file_exists

    return file_exists(sys.argv[1], "onnx/encoder_model_quantized.onnx")


def by_transformers(model: str) -> Listener:
    from transformers import pipeline

    pipe = pipeline("automatic-speech-recognition", model=model, device_map="cpu", dtype="float32")  # faster on a CPU
    return lambda sound: pipe({"raw": sound, "sampling_rate": RATE}, return_timestamps=len(sound) > WINDOW)["text"]


def by_onnxruntime() -> Listener:
    """Without torch, greedily, in pieces of thirty seconds."""
    from huggingface_hub import snapshot_download
    from onnxruntime import InferenceSession
    from transformers import AutoProcessor

    folder = Path(snapshot_download(sys.argv[1]))
    processor = AutoProcessor.from_pretrained(folder)
    config = json.loads((folder / "generation_config.json").read_text())
    encoder, decoder = (
        InferenceSession(folder / "onnx" / f"{name}_quantized.onnx")
        for name in ("encoder_model", "decoder_model_merged")
    )
    empty = {
        entry.name: np.zeros((1, entry.shape[1], 0, entry.shape[3]), np.float32)
        for entry in decoder.get_inputs()
        if entry.name.startswith("past_key_values.")
    }

    def hear(sound: np.ndarray[Any, Any]) -> str:
        features = processor(sound, sampling_rate=RATE, return_tensors="np").input_features
        (states,) = encoder.run(None, {"input_features": features})
        start = processor.tokenizer.prefix_tokens
        said, given, past, never = [], np.array([start]), empty, config["suppress_tokens"]
        while len(start) + len(said) < config["max_length"]:
            logits, *present = decoder.run(None, {"input_ids": given, "encoder_hidden_states": states, **past})
            logits[0, -1, never if said else never + config["begin_suppress_tokens"]] = -np.inf
            said.append(int(logits[0, -1].argmax()))
            if said[-1] == processor.tokenizer.eos_token_id:
                break
            given, past = np.array([said[-1:]]), dict(zip(empty, present, strict=True))
        return str(processor.decode(said, skip_special_tokens=True))

    return lambda sound: " ".join(hear(sound[at : at + WINDOW]).strip() for at in range(0, len(sound), WINDOW))


if __name__ == "__main__":
    main()
