"""Clips: files of sound become one channel of samples at the rate that a model hears."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import Any, Final

RATE: Final = 16_000  # samples a second
LONGEST: Final = 600  # seconds of a clip
LARGEST: Final = 256 << 20  # bytes of a file, ten minutes of the widest WAV
RATES: Final = (1_000, 384_000)  # samples a second, of files
MOST: Final = LONGEST * 48_000 * 2  # samples of all channels, however few bytes a file has them in
BLOCK: Final = 1 << 20  # samples of a channel that are mixed at once
CUT_OFF: Final = "Reached EOF prematurely"  # as SciPy says it
WAV: Final = (b"RIFF", b"RIFX", b"RF64")


@dataclass(frozen=True)
class Clip:
    """A clip as a model hears it.

    Attributes:
        samples: Shape (samples,), float32 in [-1, 1], `RATE` of them a second.
        rate: Samples a second in its file.
        channels: Channels in its file.
    """

    samples: Any
    rate: int
    channels: int

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / RATE


def read_clip(path: Path) -> Clip:
    """Read a clip: the mean of its channels, resampled where its file has another rate.

    WAV is read by SciPy, with integers of 8 to 32 bits or floats; FLAC, Ogg and MP3 by soundfile.

    Raises:
        ValueError: It is no sound, or too long; the text says what to do.
    """
    import numpy as np

    size = path.stat().st_size
    if not size:
        raise ValueError("the file is empty; record it again")
    if size > LARGEST:
        raise ValueError(f"the file is larger than {LARGEST >> 20} MiB; cut it into clips of {LONGEST // 60} minutes")
    with path.open("rb") as file:
        wav = file.read(4) in WAV
    rate, channels, samples = _wav(path) if wav else _other(path)
    if not np.isfinite(samples).all():
        raise ValueError("some of its samples are NaN or infinite; convert it to 16 bits")
    return Clip(_resampled(samples, rate), rate, channels)


def _wav(path: Path) -> tuple[int, int, Any]:
    """Return the rate of a WAV, its channels and their mean, shape (samples,), float32."""
    import numpy as np
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings(action="ignore", category=wavfile.WavFileWarning):  # of chunks that are no sound
            warnings.filterwarnings("error", CUT_OFF, wavfile.WavFileWarning)
            rate, values = wavfile.read(path)
    except wavfile.WavFileWarning as error:
        raise ValueError("it ends before its header says that it does; copy or convert it again") from error
    except Exception as error:  # of a parser that met something else, of any class
        raise ValueError(f"it is no sound that can be read ({error}); convert it to WAV") from error
    values = values[:, None] if values.ndim == 1 else values
    frames, channels = values.shape
    _require_bounds(frames, rate, channels)
    middle = 128 if values.dtype == np.uint8 else 0
    whole = -float(np.iinfo(values.dtype).min) if values.dtype.kind == "i" else float(middle or 1)
    blocks = (values[at : at + BLOCK].mean(axis=1, dtype=np.float64) for at in range(0, frames, BLOCK))
    return rate, channels, np.concatenate([((block - middle) / whole).astype(np.float32) for block in blocks])


def _other(path: Path) -> tuple[int, int, Any]:
    """Return the rate of a FLAC, Ogg or MP3, its channels and their mean, shape (samples,), float32."""
    import numpy as np

    try:
        import soundfile
    except ImportError as error:
        what = "it is no WAV, and soundfile, which reads FLAC, Ogg and MP3, is not installed"
        raise ValueError(f"{what}; convert it to WAV, or run pip install 'quantpress[audio]'") from error
    try:
        with soundfile.SoundFile(path) as file:
            _require_bounds(file.frames, file.samplerate, file.channels)
            blocks = file.blocks(BLOCK, dtype="float32", always_2d=True)
            samples = np.concatenate([block.mean(axis=1) for block in blocks])
            return file.samplerate, file.channels, samples
    except soundfile.LibsndfileError as error:
        raise ValueError(f"it is no sound that can be read ({error.error_string}); convert it to WAV") from error


def _require_bounds(frames: int, rate: int, channels: int) -> None:
    """Refuse what cannot be heard, by what a header says.

    Raises:
        ValueError: It cannot.
    """
    if not RATES[0] <= rate <= RATES[1]:
        raise ValueError(f"it says that it has {rate} samples a second; convert it to {RATE}")
    if not frames:
        raise ValueError("there is no sample in it; record it again")
    if frames > LONGEST * rate:
        raise ValueError(f"it takes {frames / rate / 60:.0f} minutes; cut it into clips of at most {LONGEST // 60}")
    if frames * channels > MOST:
        what = f"it has {frames * channels / 1e6:.0f} million samples in {channels} channels, and at most"
        raise ValueError(f"{what} {MOST / 1e6:.0f} million are read; convert it to one channel of {RATE} a second")


def _resampled(mono: Any, rate: int) -> Any:
    """Return samples of a rate at `RATE`, by a polyphase filter."""
    import numpy as np
    from scipy.signal import resample_poly

    if rate == RATE:
        return mono
    common = gcd(rate, RATE)
    return resample_poly(mono, RATE // common, rate // common).astype(np.float32)
