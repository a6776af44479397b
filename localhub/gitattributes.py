"""Which files are large: the rules of ``.gitattributes``, and those that a new repository begins with.

Patterns are those of `fnmatch`, whose ``*`` crosses folders where git's does not.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

LARGE_BYTES = 10 * 1024 * 1024  # the Hub takes no larger file into git itself
_LFS = "filter=lfs diff=lfs merge=lfs -text"
_EVERYWHERE = (
    "*.7z *.arrow *.bin *.bz2 *.ckpt *.ftz *.gz *.h5 *.joblib *.lfs.* *.mlmodel *.model *.msgpack *.npy *.npz *.onnx "
    "*.ot *.parquet *.pb *.pickle *.pkl *.pt *.pth *.rar *.safetensors saved_model/**/* *.tar.* *.tar *.tflite *.tgz "
    "*.wasm *.xz *.zip *.zst *tfevents*"
)
_MEDIA = (
    "*.pcm *.sam *.raw *.aac *.flac *.mp3 *.ogg *.wav *.bmp *.gif *.png *.tiff *.jpg *.jpeg *.webp *.mp4 *.webm "
    "*.lz4 *.mds"
)


def _lfs_lines(patterns: str) -> str:
    return "".join(f"{pattern} {_LFS}\n" for pattern in patterns.split())


FIRST_GITATTRIBUTES = {
    "models": _lfs_lines(_EVERYWHERE),
    "datasets": _lfs_lines(f"{_EVERYWHERE} {_MEDIA}"),
}


def is_binary(sample: bytes) -> bool:
    """Say whether the first bytes of a file are no text: a NUL, or no UTF-8 (a cut last character aside)."""
    if b"\0" in sample:
        return True
    try:
        sample.decode()
    except UnicodeDecodeError as error:
        return error.end < len(sample) or error.reason != "unexpected end of data"
    return False


def tracks(attributes: str, path: str) -> bool:
    """Say whether ``.gitattributes`` gives a path to LFS; the last matching line that speaks of it decides."""
    tracked = False
    for line in attributes.splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        spoken = [word for word in words[1:] if word.lstrip("-!").split("=")[0] == "filter"]
        pattern = words[0].replace("[[:space:]]", " ")
        subject = path if "/" in pattern else path.rpartition("/")[2]
        if spoken and fnmatchcase(subject, pattern.removeprefix("/").replace("**/", "*")):
            tracked = spoken[-1] == "filter=lfs"
    return tracked


def with_tracked(attributes: str, path: str) -> str:
    """Return ``.gitattributes`` with a line for one more large file, as the Hub adds it by itself."""
    end = "" if not attributes or attributes.endswith("\n") else "\n"
    return f"{attributes}{end}{path.replace(' ', '[[:space:]]')} {_LFS}\n"
