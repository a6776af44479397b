"""What a page runs is what is pinned: another archive is refused, wherever it came from."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from base64 import b64encode
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from pipeline.validate.browser.scripts import REGISTRY, TRANSFORMERS, registry


@pytest.mark.parametrize(
    ("environment", "written", "found"),
    [
        ({}, "", REGISTRY),
        ({}, "registry=https://npm.example/mirror\n", "https://npm.example/mirror/"),
        ({}, "@acme:registry=https://acme.example/\n", REGISTRY),
        ({"NPM_CONFIG_REGISTRY": "http://127.0.0.1:9/"}, "registry=https://npm.example\n", "http://127.0.0.1:9/"),
    ],
)
def test_the_registry_is_the_one_that_npm_uses(
    tmp_path: Path, environment: dict[str, str], written: str, found: str
) -> None:
    (tmp_path / ".npmrc").write_text(written)
    assert registry(environment, tmp_path) == found


def test_an_archive_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "registry" / TRANSFORMERS.archive
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"another")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "registry"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        environment = os.environ | {"npm_config_registry": f"http://127.0.0.1:{server.server_address[1]}"}
        command = [sys.executable, "-m", "pipeline.validate.browser.scripts", str(tmp_path / "out")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        server.shutdown()
    digest = b64encode(hashlib.sha512(b"another").digest()).decode()
    assert f"This is not the pinned {TRANSFORMERS.address}: its digest is sha512-{digest}" in done.stderr
    assert not any(path.is_dir() and path.name == "out" for path in tmp_path.iterdir()) or not any(
        (tmp_path / "out").glob("*/*/dist/*")
    )
