"""The scripts that a page loads: pinned packages of npm, whose bytes are held against npm's own digests.

A page names them at a content network, where its visitors get them; a page that is run here gets them from a folder, so
that nothing but what is pinned here takes part in a verdict.

Usage: python -m pipeline.validate.browser.scripts FOLDER
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tarfile
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from pipeline.errors import CannotHereError
from pipeline.files import digest_of
from pipeline.hub.release_files import QUESTIONS
from pipeline.store import Store

SCRIPTS: Final = "scripts"
HUB: Final = "https://huggingface.co/"
NETWORK: Final = "https://cdn.jsdelivr.net/npm/"
REGISTRY: Final = "https://registry.npmjs.org/"
_PIECE: Final = 1 << 20


@dataclass(frozen=True)
class Package:
    """A package of npm.

    Attributes:
        name: Its name.
        version: Its version.
        integrity: The SHA-512 of its archive, as npm's lock files have it.
        files: What a page loads of it, by paths in it; the first is the module that its bare address means.
    """

    name: str
    version: str
    integrity: str
    files: tuple[str, ...]

    @property
    def address(self) -> str:
        """Name and version, as the content network has them."""
        return f"{self.name}@{self.version}"

    @property
    def archive(self) -> str:
        """Where its archive lies in a registry."""
        return f"{self.name}/-/{self.name.rpartition('/')[2]}-{self.version}.tgz"


TRANSFORMERS: Final = Package(
    name="@huggingface/transformers",
    version="4.3.2",
    integrity="sha512-V3+dqf3iWlRYJ9I9GreM3zGQd0lAXnnoPeddmkOQYWAEE4l/+Fi6p7tx/qVUJlKQgLXGim2W76rTOzz+eC0i7g==",
    files=("dist/transformers.min.js",),
)
# The one that it takes its WebAssembly from, also where nothing runs on a GPU (src/backends/onnx.js).
ONNXRUNTIME: Final = Package(
    name="onnxruntime-web",
    version="1.31.0-dev.20260914-8d85527a0",
    integrity="sha512-Iy7rtadoBgxS/LLvDr3QW38DB1PNXRnr0GJMcL0TAt7c9qjgVQl83UlGCVyeAnK2InpmW8Uc3PL8XIuqtDeF6g==",
    files=("dist/ort-wasm-simd-threaded.asyncify.mjs", "dist/ort-wasm-simd-threaded.asyncify.wasm"),
)
PACKAGES: Final = (TRANSFORMERS, ONNXRUNTIME)
MODULE: Final = f"{NETWORK}{TRANSFORMERS.address}"
"""The address that a page imports."""
KEY: Final = digest_of([asdict(package) for package in PACKAGES])


@dataclass(frozen=True)
class Script:
    """A file of a package, as a page that holds its bytes against a digest loads it.

    Attributes:
        address: Where it lies.
        size: Its bytes.
        integrity: Its SHA-384, as ``fetch`` takes it.
    """

    address: str
    size: int
    integrity: str


LOADED: Final = {
    "library": Script(
        f"{MODULE}/{TRANSFORMERS.files[0]}",
        587_917,
        "sha384-xFDNfwR3J/vPYzGjMr1VSM8LHIcA+ii2Ha4x+6WAuISKpT9I0dxgF/mVQW+I0kSd",
    ),
    "factory": Script(
        f"{NETWORK}{ONNXRUNTIME.address}/{ONNXRUNTIME.files[0]}",
        53_057,
        "sha384-ik7L7J2uXfXmGuWHh3yOUDPpUslz/dJjcvZgdX5hcItLjxlkEpUF7mpCcATr3Dg8",
    ),
    "wasm": Script(
        f"{NETWORK}{ONNXRUNTIME.address}/{ONNXRUNTIME.files[1]}",
        26_861_777,
        "sha384-JuzrCV6BUmTUbsgNhgU94qo0vZ4l3w0VqgQAKPm0La2hXL9kmv8P9pGenfsWJY9c",
    ),
}
"""What runs in a page: transformers.js, and onnxruntime's WebAssembly with the module that sets it up."""


def address_of_questions(repository: str) -> str:
    """Return where the files of a published model's questions lie."""
    return f"{HUB}{repository}/resolve/main/{QUESTIONS}/"


def scripts(store: Store) -> Path:
    """Return the folder with the files of all packages, each under its address; fetched once.

    Raises:
        CannotHereError: A package does not come, or is another than the pinned one.
    """
    return store.make(SCRIPTS, KEY, fetch)


def fetch(folder: Path) -> None:
    """Fetch all packages into a folder; raises what `scripts` does."""
    fetch_packages(PACKAGES, folder, ", or leave `browser` out of the recipe's `validation`")


def fetch_packages(packages: Iterable[Package], folder: Path, otherwise: str = "") -> None:
    """Fetch the files of packages into a folder, each under its address.

    Args:
        packages: The packages.
        folder: Where they go.
        otherwise: What else may be done where no registry can be reached.

    Raises:
        CannotHereError: A package does not come, or is another than the pinned one.
    """
    for package in packages:
        to = folder / package.address
        to.mkdir(parents=True)
        archive = to / "archive.tgz"
        _download(package, archive, otherwise)
        with tarfile.open(archive) as files:
            for name in package.files:
                member = files.extractfile(f"package/{name}")
                if member is None:
                    raise CannotHereError(f"{package.address} has no file {name}.", where=package.archive)
                (to / name).parent.mkdir(parents=True, exist_ok=True)
                (to / name).write_bytes(member.read())
        archive.unlink()


def registry(environment: Mapping[str, str], home: Path) -> str:
    """Return the address of the npm registry, as npm's own environment variable or ``.npmrc`` says."""
    named = {name.lower(): value for name, value in environment.items()}.get("npm_config_registry")
    written = (home / ".npmrc").read_text() if (home / ".npmrc").is_file() else ""
    line = re.search(r"^\s*registry\s*=\s*(\S+)\s*$", written, re.MULTILINE)
    return f"{(named or (line[1] if line else REGISTRY)).rstrip('/')}/"


def _download(package: Package, to: Path, otherwise: str) -> None:
    import httpx2

    address, digest = f"{registry(os.environ, Path.home())}{package.archive}", hashlib.sha512()
    try:
        with httpx2.stream("GET", address, follow_redirects=True, timeout=60) as answer, to.open("wb") as file:
            answer.raise_for_status()
            for piece in answer.iter_bytes(_PIECE):
                digest.update(piece)
                file.write(piece)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise _missing(f"{package.address} does not come: {error}.", address, otherwise) from error
    found = f"sha512-{b64encode(digest.digest()).decode()}"
    if found != package.integrity:
        raise _missing(f"This is not the pinned {package.address}: its digest is {found}.", address, otherwise)


def _missing(what: str, where: str, otherwise: str) -> CannotHereError:
    remedy = "Run again where an npm registry can be reached (npm_config_registry names another one)"
    return CannotHereError(what, where=where, remedy=f"{remedy}{otherwise}.")


def main(folder: Path) -> None:
    """Fetch the packages into a folder of this name, unless they are there."""
    if not folder.exists():
        aside = folder.with_name(f"{folder.name}.{os.getpid()}")
        fetch(aside)
        aside.rename(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]) / KEY)
