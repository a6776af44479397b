"""Xet, the Hub's storage of large files by their chunks: uploads that skip what is there, and downloads as a stream.

Transfers go through the Hub's own library ``hf_xet``; what it is told to connect to is checked here first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipeline.hub.answers import ChunkStorage
from pipeline.hub.errors import UnreadableAnswerError
from pipeline.hub.retry import RetryPolicy
from pipeline.hub.transport import require_safe

if TYPE_CHECKING:
    from pipeline.hub.client import Hub

FLUSH_SECONDS: Final = "2s"  # how often what was sent is noted, so that an upload that is killed need not send it again
ProgressCallback = Callable[[int, int], None]  # bytes read and bytes sent, of all files together
Storage = dict[str, Any]  # where a repository's chunks are and the right to read or write them, as hf_xet takes it


def available() -> bool:
    """Return whether the library is here and nobody turned it off."""
    from huggingface_hub.utils._runtime import is_xet_available

    return bool(is_xet_available())


def storage(hub: Hub, repo: str, commit: str | None, right: str) -> Storage | None:
    """Ask the Hub for a repository's storage; None on a Hub that has none. The library renews its tokens.

    Args:
        hub: The Hub.
        repo: The repository.
        commit: The commit that is read; None for a pull request that will be opened with what is written.
        right: ``read`` or ``write``.

    Raises:
        SourceError: The Hub names an address that is none of the web.
        HfHubHTTPError: It refuses.
    """
    from huggingface_hub.utils import get_session, hf_raise_for_status

    place = commit or "None?create_pr=1"  # as the client asks
    url, headers = f"{hub.endpoint}/api/{hub.kind}s/{repo}/xet-{right}-token/{place}", hub.headers()
    answer = get_session().get(url, headers=headers)
    if answer.status_code == 404 and not answer.headers.get("X-Error-Code", "").startswith("Re"):
        return None  # neither the repository nor the revision is missing, so it is the route
    hf_raise_for_status(answer)
    found = ChunkStorage.of(answer.json())
    require_safe(found.casUrl, hub.endpoint)
    return {
        "endpoint": found.casUrl,
        "token": found.accessToken,
        "token_expiry_unix_secs": found.exp,
        "token_refresh_url": url,
        "token_refresh_headers": headers,
        "custom_headers": hub.headers(with_token=False),  # which the storage sees
    }


def upload(place: Storage, files: Mapping[Path, str], patience: RetryPolicy, heard: ProgressCallback) -> None:
    """Send files together; chunks that the storage or an earlier attempt of this machine has are left out.

    Args:
        place: The storage.
        files: The digest of each as 64 hex digits, by path.
        patience: How long is waited.
        heard: Hears how many bytes were read, and how many sent.
    """
    opened = session(patience)

    def tell(report: Any, _: Any) -> None:
        heard(report.total_bytes_completed, report.total_transfer_bytes_completed)

    try:
        with library_errors():
            commit = opened.new_upload_commit(**place, progress_callback=tell)
            for path, sha256 in files.items():
                commit.start_upload_file(str(path), sha256=sha256)
            counted = commit.wait_to_finish().dedup_metrics
    except KeyboardInterrupt:
        opened.sigint_abort()
        session.cache_clear()
        raise
    heard(counted.total_bytes, counted.total_bytes_uploaded)


def pieces(place: Storage, xet_hash: str, begin: int, size: int, patience: RetryPolicy) -> Iterator[bytes]:
    """Yield a file's bytes from one on in order, as a consumer's client receives them.

    Raises:
        ConnectionError: They end too soon; a stream of ``hf_xet`` 1.8.0 that fails just ends.
    """
    from hf_xet import XetFileInfo

    if begin >= size:
        return
    with library_errors():
        group, read = session(patience).new_download_stream_group(**place), begin
        for piece in group.download_stream(XetFileInfo(xet_hash, size), begin, size):
            read += len(piece)
            yield piece
    if read < size:
        raise ConnectionError(f"the stream ended after {read} of {size} bytes")


@contextmanager
def library_errors() -> Iterator[None]:
    """Tell what ``hf_xet`` raises from what Python does: 1.8.0 has a built-in class for each of its own errors."""
    try:
        yield
    except ConnectionError:
        raise
    except RuntimeError as error:
        raise ConnectionError(str(error)) from error
    except (OSError, ValueError) as error:
        raise UnreadableAnswerError(str(error)) from error


@cache
def session(patience: RetryPolicy) -> Any:
    """Return this process's session, which waits and tries as long as it is told."""
    import hf_xet

    settings = {
        "client.retry_base_delay": f"{max(int(patience.pause * 1000), 1)}ms",
        "client.retry_max_duration": f"{max(int(patience.progress), 1)}s",
        "client.connect_timeout": f"{max(int(patience.connect), 1)}s",
        "client.read_timeout": f"{max(int(patience.silence), 1)}s",
        "data.session_xorb_metadata_flush_interval": FLUSH_SECONDS,
    }
    return hf_xet.XetSession(hf_xet.XetConfig().with_config(settings))
