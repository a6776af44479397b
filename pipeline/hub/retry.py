"""How long the Hub is waited for: for an answer, between two tries, and in all before a later run is advised."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from pipeline.errors import HubUnavailableError
from pipeline.hub.errors import LATER, RETRIED


@dataclass(frozen=True)
class RetryPolicy:
    """Seconds that a transfer may take for what it does, and the least it has to bring.

    Attributes:
        connect: Until a connection stands.
        silence: Between two pieces of an answer, and from the question to the first.
        answer: From a call of the API to the end of its answer.
        progress: Without a new byte, over all tries, before the transfer is given up.
        slowest: Bytes a second; what a transfer is behind that is time without a byte.
        pause: Before the first try again; doubled for each one after it.
        longest_pause: At most, unless the Hub asks for more.
    """

    connect: float = 10.0
    silence: float = 30.0
    answer: float = 300.0  # a commit of thousands of files takes the Hub minutes
    progress: float = 600.0  # the Hub counts its rate limits over five minutes
    slowest: float = 1000.0  # else a byte now and then would hold a transfer up for ever
    pause: float = 0.5
    longest_pause: float = 30.0


PATIENT: Final = RetryPolicy()
BRIEF: Final = RetryPolicy(connect=3.0, silence=5.0, answer=10.0, progress=5.0)  # for what is done unanswered, too
ONCE: Final = RetryPolicy(answer=20.0, progress=0.0)
SOON: Final = RetryPolicy(progress=60.0)  # for the small reads of a plan, before which somebody sits


class BadAnswerError(Exception):
    """An answer that is not what was asked, where asking again may help.

    Args:
        reason: What was wrong with it.
        asked: The seconds that it asks to wait.
    """

    def __init__(self, reason: str, asked: float = 0.0) -> None:
        super().__init__(f"{reason}, and it asks to wait {asked:.0f} s" if asked else reason)
        self.asked = asked


class Retry:
    """The tries at one range: they start anew with each byte that comes, and the time with as many as are due.

    Args:
        patience: How long is waited.
        where: How the file is named in messages.
        lacked: What did not come.
    """

    def __init__(self, patience: RetryPolicy, where: str, lacked: str = "no byte of it") -> None:
        self._patience = patience
        self._where = where
        self._lacked = lacked
        self._failed = 0
        self._last = self._came = time.monotonic()

    def progressed(self, count: float = math.inf) -> None:
        """Note that something came: whatever was waited for, or a number of bytes.

        Raises:
            HubUnavailableError: The bytes have been too few for as long as is waited.
        """
        self._failed = 0
        self._came = time.monotonic()
        self._last = min(self._came, self._last + count / self._patience.slowest)
        if self._came - self._last > self._patience.progress:
            raise self._too_slow()

    def resumed(self) -> None:
        """Leave out the time since the last bytes came; it was their reader's."""
        now = time.monotonic()
        self._last += now - self._came
        self._came = now

    def pause(self, error: Exception) -> float:
        """Return the seconds until the next try: what the Hub asked for with the last one's error, or more.

        They are drawn so that threads and machines do not come back together.

        Raises:
            HubUnavailableError: The pause would end after the last moment that is waited for.
        """
        longest = min(self._patience.pause * 2 ** min(self._failed, 16), self._patience.longest_pause)
        seconds = max(random.uniform(longest / 2, longest), asked_by(error))  # noqa: S311  a pause is no secret
        self._failed += 1
        if time.monotonic() - self._last + seconds > self._patience.progress:
            raise self._given_up(error) from (error.__cause__ or error)
        return seconds

    def _given_up(self, error: Exception) -> HubUnavailableError:
        if isinstance(error, HubUnavailableError):
            return error
        if self._came > self._last:
            return self._too_slow()
        waited = time.monotonic() - self._last
        reason = (str(error).splitlines() or [""])[0].rstrip(".") or type(error).__name__
        tries = f"{self._failed} {'try' if self._failed == 1 else 'tries'}"
        what = f"The Hub sent {self._lacked} in {tries} over {waited:.0f} s ({reason})."
        return HubUnavailableError(what, where=self._where, remedy=LATER)

    def _too_slow(self) -> HubUnavailableError:
        what = f"For too long the Hub has sent fewer than {self._patience.slowest:.0f} bytes a second of it."
        return HubUnavailableError(what, where=self._where, remedy=LATER)


def asked_pause(headers: Mapping[str, str]) -> float:
    """Return the seconds that an answer asks to wait: by ``Retry-After`` in both its forms, or by ``RateLimit``."""
    from huggingface_hub.utils import parse_ratelimit_headers

    text = headers.get("Retry-After", "").strip()
    if text.isdigit():
        return float(text)
    try:
        then = parsedate_to_datetime(text)
        return max((then - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):  # no date, or one without a zone
        limit = parse_ratelimit_headers(headers)
        return float(limit.reset_in_seconds + 1) if limit and limit.remaining == 0 else 0.0


def asked_by(error: BaseException) -> float:
    """Return the seconds that the Hub asked to wait, by an answer or when it refused a call."""
    answer = getattr(error.__cause__, "response", None)
    return asked_pause(answer.headers) if answer is not None else getattr(error, "asked", 0.0)


def is_refusal(error: BaseException) -> bool:
    """Return whether the Hub said no, rather than nothing, later, or that something has moved."""
    status = getattr(getattr(error.__cause__, "response", None), "status_code", 0)
    return 400 <= status < 500 and status not in RETRIED | {409, 412}
