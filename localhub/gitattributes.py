"""Which files are large: the rules of ``.gitattributes``, a new repository's own ones, and what is ignored."""

from __future__ import annotations

import re
from functools import lru_cache

LARGE_BYTES = 10 * 1024 * 1024  # the Hub takes no larger file into git itself
_LFS = "filter=lfs diff=lfs merge=lfs -text"
_MOST_DEEP = 3  # times that a pattern may say "in any folder below"; each multiplies the ways to match
_DEEP = "(?:.*/)?"
_WORDS = {"/**": "/.*", "?": "[^/]"}
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
        if spoken and _matches(words[0].replace("[[:space:]]", " "), path):
            tracked = spoken[-1] == "filter=lfs"
    return tracked


def with_tracked(attributes: str, path: str) -> str:
    """Return ``.gitattributes`` with a line for one more large file, as the Hub adds it by itself."""
    end = "" if not attributes or attributes.endswith("\n") else "\n"
    return f"{attributes}{end}{path.replace(' ', '[[:space:]]')} {_LFS}\n"


def ignores(gitignore: str, path: str) -> bool:
    """Say whether ``.gitignore`` leaves a file out, by itself or by a folder above it."""
    parts = path.split("/")
    return any(
        _last_word(gitignore, "/".join(parts[:length]), is_folder=length < len(parts))
        for length in range(1, len(parts) + 1)
    )


def _last_word(gitignore: str, path: str, *, is_folder: bool) -> bool:
    ignored = False
    for line in gitignore.splitlines():
        pattern = line.rstrip()
        if not pattern or pattern.startswith("#"):
            continue
        wanted = not pattern.startswith("!")
        pattern = pattern.removeprefix("!")
        if pattern.endswith("/") and not is_folder:
            continue
        if _matches(pattern.rstrip("/"), path):
            ignored = wanted
    return ignored


def _matches(pattern: str, path: str) -> bool:
    """Match as git does: a pattern with a slash from the root, one without against the last name."""
    subject = path if "/" in pattern else path.rsplit("/", 1)[-1]
    return _compiled(pattern.removeprefix("/")).fullmatch(subject) is not None


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    pieces = re.findall(r"(?:\*\*/)+|/\*\*$|\*+|\?|\[!?\]?[^\]]*\]|\\?.", pattern)
    deep = sum(piece.endswith("**/") for piece in pieces)
    try:
        return re.compile(_expression(pieces) if deep <= _MOST_DEEP else re.escape(pattern), re.DOTALL)
    except re.error:  # a range such as [z-a]; git lets such a pattern match nothing but itself
        return re.compile(re.escape(pattern))


def _expression(pieces: list[str]) -> str:
    """Return a regular expression that takes a time the pattern's author cannot choose.

    Between two stars of one folder the first place that fits is as good as any other, so nothing else is tried.
    """
    chunks = [""]
    for piece in pieces:
        if piece.strip("*"):
            chunks[-1] += _DEEP if piece.endswith("**/") else _WORDS.get(piece) or _literal(piece)
        else:
            chunks.append("")
    first, *starred = chunks
    settled = [f"[^/]*{chunk}" if _DEEP in chunk else f"(?>[^/]*?{chunk})" for chunk in starred[:-1]]
    return "".join([first, *settled, *(f"[^/]*{chunk}" for chunk in starred[-1:])])


def _literal(piece: str) -> str:
    if len(piece) > 2 and piece.startswith("["):
        return piece.replace("[!", "[^", 1).replace("\\", "\\\\")
    return re.escape(piece.removeprefix("\\") or piece)
