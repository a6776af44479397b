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
    size = path.stat().st_size
    if not size:
        raise ValueError("the file is empty; record it again")
    if size > LARGEST:
        raise ValueError(f"the file is larger than {LARGEST >> 20} MiB; cut it into clips of {LONGEST // 60} minutes")
    with path.open("rb") as file:
        wav = file.read(4) in WAV
    rate, samples = _wav(path) if wav else _other(path)
    return Clip(_resampled(_checked(samples, rate), rate), rate, samples.shape[1])


def _wav(path: Path) -> tuple[int, Any]:
    """Return the rate of a WAV and its samples, shape (samples, channels), float32."""
    import numpy as np
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings(action="ignore", category=wavfile.WavFileWarning):  # of chunks that are no sound
            rate, values = wavfile.read(path)
    except Exception as error:  # of a parser that met something else, of any class
        raise ValueError(f"it is no sound that can be read ({error}); convert it to WAV") from error
    values = values[:, None] if values.ndim == 1 else values
    if values.dtype == np.uint8:
        return rate, (values.astype(np.float32) - 128) / 128
    whole = float(-int(np.iinfo(values.dtype).min)) if values.dtype.kind == "i" else 1.0
    return rate, values.astype(np.float32) / np.float32(whole)


def _other(path: Path) -> tuple[int, Any]:
    """Return the rate of a FLAC, Ogg or MP3 and its samples, shape (samples, channels), float32."""
    try:
        import soundfile
    except ImportError as error:
        what = "it is no WAV, and soundfile, which reads FLAC, Ogg and MP3, is not installed"
        raise ValueError(f"{what}; convert it to WAV, or run pip install 'quantpress[audio]'") from error
    try:
        told = soundfile.info(path)
        if told.frames > LONGEST * told.samplerate:
            raise ValueError(_too_long(told.frames / told.samplerate))
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"it is no sound that can be read ({error.error_string}); convert it to WAV") from error
    return rate, samples


def _checked(samples: Any, rate: int) -> Any:
    """Return samples that can be heard.

    Raises:
        ValueError: They cannot.
    """
    import numpy as np

    if not RATES[0] <= rate <= RATES[1]:
        raise ValueError(f"it says that it has {rate} samples a second; convert it to {RATE}")
    if not len(samples):
        raise ValueError("there is no sample in it; record it again")
    if len(samples) > LONGEST * rate:
        raise ValueError(_too_long(len(samples) / rate))
    if not np.isfinite(samples).all():
        raise ValueError("some of its samples are NaN or infinite; convert it to 16 bits")
    return samples


def _too_long(seconds: float) -> str:
    return f"it takes {seconds / 60:.0f} minutes; cut it into clips of at most {LONGEST // 60}"


def _resampled(samples: Any, rate: int) -> Any:
    """Return the mean of all channels at `RATE`, by a polyphase filter."""
    import numpy as np
    from scipy.signal import resample_poly

    mono = samples.mean(axis=1, dtype=np.float32)
    if rate == RATE:
        return mono
    common = gcd(rate, RATE)
    return resample_poly(mono, RATE // common, rate // common).astype(np.float32)
