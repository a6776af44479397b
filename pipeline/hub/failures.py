"""What the Hub's client means when it raises: its many exceptions become ours here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pipeline.errors import CannotHereError, HubUnavailableError, PublishError, RemoteChangedError, SourceError

ANOTHER_READER: Final = "Use a token that may read it (HF_TOKEN, or hf auth login)."
UNREADABLE: Final = (LookupError, TypeError, AttributeError, ArithmeticError)  # of an answer of another shape
LATER: Final = "Run the same command later: it continues where it stopped."


def no_right(where: str, reason: str) -> CannotHereError:
    """Return the error for a token that may not do it."""
    remedy = "Use a token with the write role for that namespace (HF_TOKEN, or hf auth login)."
    return CannotHereError(f"The Hub refuses to write: {reason}.", where=where, remedy=remedy)


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
        raise SourceError("The source is gated, and this token has no access.", where=where, remedy=remedy) from error
    except errors.RevisionNotFoundError as error:
        remedy = "Pin one of the commits that its history on the Hub shows."
        raise SourceError("The repository has no such commit.", where=where, remedy=remedy) from error
    except errors.RepositoryNotFoundError as error:
        remedy = "Correct its name in the recipe, or use another token (HF_TOKEN, or hf auth login)."
        what = "There is no such repository, or it is private and this token may not read it."
        raise SourceError(what, where=where, remedy=remedy) from error
    except errors.LocalTokenNotFoundError as error:
        raise no_right(where, "there is no token") from error
    except errors.OIDCError as error:
        raise no_right(where, f"the trusted publisher's token was not issued ({error})") from error
    except errors.LocalEntryNotFoundError as error:
        raise silent_hub(where, error) from error
    except errors.HfHubHTTPError as error:
        raise refused(error, where, as_source=as_source) from error
    except RuntimeError as error:  # the client puts whatever ends an upload into one
        raise (error.__cause__ if isinstance(error.__cause__, PublishError) else silent_hub(where, error)) from error
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, *UNREADABLE, ValueError) as error:
        # The client lets these through: a broken transfer, and answers that are not shaped as it reads them.
        if isinstance(error, OSError) and error.filename is not None:
            raise  # a file of this machine
        raise silent_hub(where, error) from error


def refused(error: Exception, where: str, *, as_source: bool) -> Exception:
    """Return our error for an answer that is not a success."""
    answer = getattr(error, "response", None)
    status = getattr(answer, "status_code", 0)
    reason = str(getattr(error, "server_message", None) or f"status {status}").rstrip(".")
    if status == 401:
        remedy = "Use a valid token (HF_TOKEN, or hf auth login)."
        return CannotHereError(f"The Hub does not know this token: {reason}.", where=where, remedy=remedy)
    if status == 403:
        return (
            SourceError(f"The Hub refuses to show it: {reason}.", where=where, remedy=ANOTHER_READER)
            if as_source
            else no_right(where, reason)
        )
    if status == 404 and as_source:
        remedy = "It was listed, so it is being deleted or the Hub is changing; pin a commit that has it."
        return SourceError(f"The Hub does not have it: {reason}.", where=where, remedy=remedy)
    if status in {409, 412}:  # a pull request that no longer merges, a parent that is no longer the head
        return RemoteChangedError(
            f"main moved while this release was staged: {reason}.", where=where, remedy="Run again to look at it anew."
        )
    return silent_hub(where, error)


def silent_hub(where: str, error: Exception) -> HubUnavailableError:
    """Return the error for a Hub that does not answer as it should."""
    reason = (str(error).splitlines() or [""])[0].rstrip(".") or type(error).__name__
    if isinstance(error, UNREADABLE):
        reason = f"its answer cannot be read: {type(error).__name__}: {reason}"
    return HubUnavailableError(f"The Hub does not answer as it should ({reason}).", where=where, remedy=LATER)
