"""How the Hub says no: every refusal is an HTTP status, an error code that clients read, and a sentence."""

from __future__ import annotations

from typing import Any


class RefusedError(Exception):
    """An answer other than success.

    Args:
        status: The HTTP status.
        code: The value of ``X-Error-Code``; ``huggingface_hub`` chooses its exception class by it.
        message: One sentence for people, sent as ``X-Error-Message`` and as ``error`` of the JSON body.
        extra: Further fields of the JSON body.
    """

    def __init__(self, status: int, code: str, message: str, **extra: Any) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.extra = extra
        self.headers: dict[str, str] = {}


def bad_request(message: str) -> RefusedError:
    """Refuse a request that is wrong in itself."""
    return RefusedError(400, "BadRequest", message)


def unauthenticated() -> RefusedError:
    """Refuse a caller without a token where one is needed."""
    return RefusedError(401, "Unauthorized", "Log in first: this needs a token.")


def unknown_token() -> RefusedError:
    """Refuse a token that is nobody's; the client tells this sentence apart from a missing repository."""
    return RefusedError(401, "InvalidCredentials", "Invalid credentials in Authorization header")


def forbidden(message: str) -> RefusedError:
    """Refuse a caller who is known and may not do this."""
    return RefusedError(403, "Forbidden", message)


def gated(repo_id: str) -> RefusedError:
    """Refuse the files of a gated repository to a caller who was not granted them."""
    return RefusedError(403, "GatedRepo", f"Access to {repo_id} is restricted and you are not in the authorized list.")


def repo_not_found() -> RefusedError:
    """Deny a repository that does not exist, or that the caller must not know of."""
    return RefusedError(404, "RepoNotFound", "Repository not found")


def revision_not_found(revision: str) -> RefusedError:
    """Deny a revision: no branch, tag, pull request or commit has this name."""
    return RefusedError(404, "RevisionNotFound", f"Invalid rev id: {revision}")


def entry_not_found(message: str) -> RefusedError:
    """Deny a file or folder that is not there at this revision."""
    return RefusedError(404, "EntryNotFound", message)


def conflict(message: str, **extra: Any) -> RefusedError:
    """Refuse what contradicts the present state; the client wants JSON here, often with ``url``."""
    return RefusedError(409, "Conflict", message, **extra)


def has_moved() -> RefusedError:
    """Refuse a commit whose branch is no longer where the caller believes."""
    return RefusedError(412, "PreconditionFailed", "A commit has happened since. Please refresh and try again.")
