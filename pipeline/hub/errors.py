"""The Hub's client's exceptions, translated into ours here and nowhere else; what is no answer of a Hub goes through.

What a status becomes, by whether asking again can change it:

    401, 403         `CannotHereError`       (3): another token; of a source `SourceError` (4) for a 403
    404              `SourceError`           (4) of a source; of a destination `RemoteChangedError` (8): it was there
    409, 412         `RemoteChangedError`    (8): what is asked for no longer follows what is there
    400, 422         `CardError`             (7) where the Hub speaks of the card
    any other 4xx    `RequestRefusedError`  (70): this program asked what no Hub grants; it is not repeated. Of a source
                     `SourceError` (4): what serves it may be anybody's
    408 425 429 5xx  `HubUnavailableError`   (9): a later run continues, as after a transfer that broke

An answer that cannot be read is a `HubUnavailableError` too: where our own code reads it, it does so by
`pipeline.hub.answers`, and where the client stumbles over one with whatever exception, its frames tell. Any other
exception is a defect of ours, and is told as one, with its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from pipeline.errors import (
    CannotHereError,
    CardError,
    HubUnavailableError,
    PublishError,
    RemoteChangedError,
    RequestRefusedError,
    SourceError,
)

RETRIED: Final = frozenset({408, 425, 429, 500, 502, 503, 504})  # statuses of a server that may do better later
ANOTHER_WRITER: Final = "Use a token with the write role for that namespace (HF_TOKEN, or hf auth login)."
SIGN_IN: Final = (
    "Set HF_TOKEN to a token with the write role for that namespace, or use hf auth login; an embedded Hub without "
    "tokens.json takes any text for one."
)
ANOTHER_READER: Final = "Use a token that may read it (HF_TOKEN, or hf auth login)."
LATER: Final = "Run the same command later: it continues where it stopped."
ANEW: Final = "Run again to look at it anew."
CLIENTS: Final = frozenset({"huggingface_hub", "httpx2", "httpcore2"})  # whose frames are not ours
OURS: Final = __name__.partition(".")[0]
CARD: Final = "README.md"

Kind = tuple[type[PublishError], str, str]
MOVED: Final = (RemoteChangedError, "main moved while this release was staged", ANEW)
LISTED: Final = "It was listed, so it is being deleted or the Hub is changing; pin a commit that has it."
REFUSALS: Final[Mapping[object, Kind]] = {
    401: (CannotHereError, "The Hub does not know this token", "Use a valid token (HF_TOKEN, or hf auth login)."),
    403: (CannotHereError, "The Hub refuses to write", ANOTHER_WRITER),
    (403, True): (SourceError, "The Hub refuses to show it", ANOTHER_READER),
    404: (RemoteChangedError, "The Hub does not have it", ANEW),
    (404, True): (SourceError, "The Hub does not have it", LISTED),
    409: MOVED,  # a pull request that no longer merges
    412: MOVED,  # a parent that is no longer the head
}
REFUSED_CARD: Final[Kind] = (
    CardError,
    "The Hub refuses the card",
    "Correct what it is made of: the recipe's card, or what its source says of itself.",
)
OTHERWISE: Final[Kind] = (
    RequestRefusedError,
    "The Hub refuses the request",
    "Asking again changes nothing. Please report it with this message.",
)


UNSERVED: Final[Kind] = (
    SourceError,
    "The Hub refuses to serve it",
    "Asking again changes nothing; look at what HF_ENDPOINT names.",
)


class GatedError(SourceError):
    """A source whose conditions the owner of this token has not accepted."""


class UnreadableAnswerError(Exception):
    """An answer of the Hub that is not shaped as its interface says."""


def no_right(where: str, reason: str) -> CannotHereError:
    """Return the error for a token that may not do it."""
    return CannotHereError(f"The Hub refuses to write: {reason}.", where=where, remedy=ANOTHER_WRITER)


@contextmanager
def hub_errors(where: str, *, as_source: bool = False) -> Iterator[None]:
    """Translate the client's exceptions: one that answers no is not one that does not answer.

    Args:
        where: The repository, for the message.
        as_source: Whether a refusal is the source's fault rather than that of this environment.
    """
    import httpx2
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        remedy = "Accept its conditions on its page, signed in as the owner of this token, then run again."
        raise GatedError("The source is gated, and this token has no access.", where=where, remedy=remedy) from error
    except errors.RevisionNotFoundError as error:
        remedy = "Pin one of the commits that its history on the Hub shows."
        raise missing("The repository has no such commit.", where, remedy, as_source=as_source) from error
    except errors.RepositoryNotFoundError as error:
        remedy = "Correct its name, or use another token (HF_TOKEN, or hf auth login)."
        what = "There is no such repository, or it is private and this token may not read it."
        raise missing(what, where, remedy, as_source=as_source) from error
    except errors.LocalTokenNotFoundError as error:
        raise CannotHereError("No token is set, and the Hub asks for one.", where=where, remedy=SIGN_IN) from error
    except errors.OIDCError as error:
        raise no_right(where, f"the trusted publisher's token was not issued ({error})") from error
    except errors.HfHubHTTPError as error:
        raise refused(error, where, as_source=as_source) from error
    except (errors.LocalEntryNotFoundError, httpx2.HTTPError, httpx2.InvalidURL, UnreadableAnswerError) as error:
        raise silent_hub(where, error) from error
    except (ConnectionError, TimeoutError) as error:  # what sockets raise, whoever asked
        raise silent_hub(where, error) from error
    except Exception as error:  # the client's own code on an answer that is not what it takes it for, of any class
        if not raised_by_client(error) or (isinstance(error, OSError) and error.filename is not None):
            raise  # a defect of ours, or a file of this machine
        raise (error.__cause__ if isinstance(error.__cause__, PublishError) else silent_hub(where, error)) from error


def raised_by_client(error: BaseException) -> bool:
    """Return whether the Hub's client raised it: of the frames that are its or ours, the innermost is its."""
    last, trace = "", error.__traceback__
    while trace is not None:
        package = str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        last = package if package in CLIENTS or package == OURS else last
        trace = trace.tb_next
    return last in CLIENTS


def missing(what: str, where: str, remedy: str, *, as_source: bool) -> PublishError:
    """Return our error for something that is not there: a destination was there when it was last looked at."""
    if as_source:
        return SourceError(what, where=where, remedy=remedy)
    return RemoteChangedError(what, where=where, remedy=ANEW)


def refused(error: Exception, where: str, *, as_source: bool) -> PublishError:
    """Return our error for an answer that is not a success; see the module for which."""
    status = getattr(getattr(error, "response", None), "status_code", 0)
    if not 400 <= status < 500 or status in RETRIED:
        return silent_hub(where, error)
    reason = str(getattr(error, "server_message", None) or f"status {status}").rstrip(".")
    otherwise = UNSERVED if as_source else OTHERWISE
    kind, what, remedy = REFUSALS.get((status, as_source), REFUSALS.get(status, otherwise))
    if status in {400, 422} and CARD in reason:
        kind, what, remedy = REFUSED_CARD
    return kind(f"{what}: {reason}.", where=where, remedy=remedy)


def silent_hub(where: str, error: Exception) -> HubUnavailableError:
    """Return the error for a Hub that does not answer as it should."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    reason = (str(error).splitlines() or [""])[0].rstrip(".") or type(error).__name__
    if not isinstance(error, (httpx2.HTTPError, HfHubHTTPError, OSError, RuntimeError)):
        reason = f"its answer cannot be read: {type(error).__name__}: {reason}"
    return HubUnavailableError(f"The Hub does not answer as it should ({reason}).", where=where, remedy=LATER)
