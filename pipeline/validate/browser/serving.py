"""What a browser is shown here: a page, the scripts and the model, by HTTP on loopback, and nothing else.

A page names the Hub and a content network as it does anywhere. Their addresses lead to this server, or to another Hub.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from pipeline.validate.browser.scripts import PACKAGES


@contextmanager
def served(documents: Mapping[str, bytes], folders: Mapping[str, Path]) -> Iterator[str]:
    """Serve some documents and folders, and return the address of all.

    Args:
        documents: What is served under a path, such as ``index.html``, which is the bare address, too.
        folders: The folders whose files are served under a path, such as ``hub/alice/model/resolve/main``.
    """
    handler = partial(_Handler, documents=documents, folders=folders)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()


def script_folders(scripts: Path) -> dict[str, Path]:
    """Return the folders of all packages by their paths under ``npm``; a bare address means the first file of each."""
    bare = {f"npm/{package.address}": scripts / package.address / package.files[0] for package in PACKAGES}
    return bare | {f"npm/{package.address}/": scripts / package.address for package in PACKAGES}


class _Handler(SimpleHTTPRequestHandler):
    """Answers GET and HEAD, also those of pages of another origin."""

    def __init__(self, *given: Any, documents: Mapping[str, bytes], folders: Mapping[str, Path]) -> None:
        self._documents, self._folders = documents, folders
        self.extensions_map = self.extensions_map | dict.fromkeys((".js", ".mjs"), "text/javascript")
        super().__init__(*given)

    def send_head(self) -> BytesIO | BinaryIO | None:
        """Send the head of an answer, and return what is its body."""
        host, port = self.connection.getsockname()
        if self.headers.get("Host") != f"{host}:{port}":  # a name that was made to point here
            self.send_error(HTTPStatus.BAD_REQUEST)
            return None
        name = unquote(urlsplit(self.path).path).removeprefix("/") or "index.html"
        if (content := self._documents.get(name)) is None:
            return super().send_head()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"{self.guess_type(name)}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return BytesIO(content)

    def translate_path(self, path: str) -> str:
        """Return the file of a path, or one that is not there."""
        name = unquote(urlsplit(path).path).removeprefix("/")
        if name in self._folders:
            return str(self._folders[name])
        for place, folder in self._folders.items():
            if name.startswith(place) and place.endswith("/"):
                file = folder / name.removeprefix(place)
                if ".." not in file.parts and file.is_file():
                    return str(file)
        return "/nowhere"

    def end_headers(self) -> None:
        """Add what lets pages of another origin read it."""
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Cross-Origin-Resource-Policy", "cross-origin")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the class above
        """Say nothing: what a page asks for is in no log."""
