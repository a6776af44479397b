"""Whatever fails on the way, the bytes that arrive are the file's, or an error says what to do."""

from __future__ import annotations

import time
from dataclasses import replace
from email.utils import formatdate

import pytest

from pipeline.errors import HubUnavailableError, SourceError
from pipeline.hub.source import Repository
from tests.hub_ranges.conftest import GIVING_UP, HASTY, NERVOUS, RANGE, Opener, read_all
from tests.hub_ranges.server import NAME, Fault, Faulty, Talk, chunked, cut, hang, status

SOME = 7_000
TRANSIENT: dict[str, Fault] = {
    "500": status(500),
    "503": status(503),
    "429": status(429),
    "reset before the answer": lambda talk: talk.reset(),
    "reset in the body": cut(SOME),
    "end in the body": cut(SOME, reset=False),
    "silence before the answer": hang(),
    "silence in the body": hang(SOME),
    "short body": chunked(lambda body: body[:SOME]),
    "empty body": chunked(lambda _: b""),
    "no range named": lambda talk: talk.partial(Content_Range="bytes */*"),
    "another range": lambda talk: talk.partial(Content_Range="bytes 0-19999/201000"),
    "another length": lambda talk: talk.partial(b"x" * 10, Content_Length="10"),
    "encoded": lambda talk: talk.partial(Content_Encoding="gzip"),
    "no content": status(204),
    "range refused": status(416, Content_Range="bytes */201000"),
    "redirect to nowhere": status(302, Location="http://[nowhere"),
}


@pytest.mark.parametrize("stored", [False, True], ids=["hub", "storage"])
@pytest.mark.parametrize("name", TRANSIENT)
def test_a_fault_that_passes_is_not_seen_by_the_reader(faulty: Faulty, opened: Opener, name: str, stored: bool) -> None:
    faulty.stored = stored
    faulty.faults |= {("storage" if stored else "hub", number): TRANSIENT[name] for number in (0, 4, 5)}
    assert read_all(opened(patience=NERVOUS if "silence" in name else HASTY)) == faulty.content


@pytest.mark.parametrize("fault", [cut(SOME), status(503)], ids=["reset in the body", "503"])
def test_a_small_read_is_as_robust(faulty: Faulty, repository: Repository, fault: Fault) -> None:
    faulty.faults["hub", 0] = fault
    repository.hub.patience = HASTY
    file = repository.hub.file("acme/tiny", "c" * 40, NAME, size=len(faulty.content))
    assert b"".join(file.pieces(50_000, 60_000, whole=True)) == faulty.content[50_000:60_000]


@pytest.mark.parametrize("fault", [cut(SOME), cut(SOME, reset=False), hang(SOME)], ids=["reset", "end", "silence"])
def test_a_broken_range_goes_on_from_the_byte_where_it_broke(faulty: Faulty, opened: Opener, fault: Fault) -> None:
    faulty.faults["hub", 2] = fault
    assert read_all(opened(in_flight=1, patience=replace(HASTY, silence=0.5))) == faulty.content
    assert faulty.seen[3].span == (2 * RANGE + SOME, 3 * RANGE)
    assert faulty.sent == len(faulty.content)


def test_a_link_that_always_breaks_still_arrives(faulty: Faulty, opened: Opener) -> None:
    faulty.always["hub"] = cut(3_000)
    assert read_all(opened()) == faulty.content
    assert faulty.sent == len(faulty.content)


def trickle(talk: Talk) -> None:
    """Promise the range and send a byte of it now and then."""
    talk.partial(b"")
    for at in range(*talk.span):
        talk.body(talk.faulty.content[at : at + 1])
        if talk.faulty.over.wait(0.02):
            return


@pytest.mark.parametrize("fault", [trickle, cut(1)], ids=["one answer", "an answer each"])
def test_a_byte_now_and_then_is_not_waited_for_for_ever(faulty: Faulty, opened: Opener, fault: Fault) -> None:
    faulty.always["hub"] = fault
    began = time.monotonic()
    with pytest.raises(HubUnavailableError, match="For too long the Hub has sent fewer than 1000 bytes a second"):
        read_all(opened(patience=replace(HASTY, progress=0.5)))
    assert time.monotonic() - began < 5
    assert 0 < faulty.sent < len(faulty.content)


def test_time_that_the_reader_takes_is_not_the_hubs(faulty: Faulty, repository: Repository) -> None:
    faulty.always["hub"] = cut(100_000)
    repository.hub.patience = replace(HASTY, progress=0.3, slowest=1e9)
    file = repository.hub.file("acme/tiny", "c" * 40, NAME, size=len(faulty.content))
    content = b""
    for piece in file.pieces(0, len(faulty.content), whole=True):
        content += piece
        time.sleep(0.1)
    assert content == faulty.content


def test_a_shorter_range_than_asked_is_taken_and_the_rest_asked_for(faulty: Faulty, opened: Opener) -> None:
    def half(talk: Talk) -> None:
        talk.span = (talk.span[0], max(talk.span[0] + 1, sum(talk.span) // 2))
        talk.partial()

    faulty.faults["hub", 2] = half
    assert read_all(opened(in_flight=1)) == faulty.content
    assert faulty.sent == len(faulty.content)


def test_of_a_longer_body_only_what_was_asked_is_used(faulty: Faulty, opened: Opener) -> None:
    faulty.faults["hub", 2] = chunked(lambda body: body + b"more")
    assert read_all(opened()) == faulty.content


@pytest.mark.parametrize("asked", ["1", "date"])
def test_the_pause_that_the_hub_asks_for_is_kept(faulty: Faulty, opened: Opener, asked: str) -> None:
    until = formatdate(time.time() + 2, usegmt=True) if asked == "date" else asked  # a date has no parts of seconds
    faulty.faults["hub", 0] = status(503, Retry_After=until)
    began = time.monotonic()
    assert read_all(opened(in_flight=1)) == faulty.content
    assert time.monotonic() - began >= 0.95


def test_a_pause_that_is_longer_than_anyone_waits_ends_at_once(faulty: Faulty, opened: Opener) -> None:
    faulty.always["hub"] = status(429, RateLimit='"resolvers";r=0;t=3000')
    began = time.monotonic()
    with pytest.raises(HubUnavailableError, match="asks to wait 3001 s") as caught:
        read_all(opened())
    assert time.monotonic() - began < 0.5
    assert str(caught.value).endswith("Run the same command later: it continues where it stopped.")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (status(503), "status 503"),
        (hang(), "timed out"),
        (lambda talk: talk.reset(), "reset|disconnected"),
        (lambda talk: talk.partial(Content_Range="bytes 0-1/201000"), "other bytes came"),
        (lambda talk: talk.partial(Content_Encoding="br"), "encoded as br"),
        (lambda talk: talk.redirect(f"{talk.faulty.hub}/again"), "redirects more than 10 times"),
    ],
    ids=["503", "silence", "reset", "another range", "encoded", "redirects"],
)
def test_a_hub_that_stays_broken_ends_in_an_error_that_says_when_to_go_on(
    faulty: Faulty, opened: Opener, fault: Fault, reason: str
) -> None:
    faulty.faults |= {("hub", number): Talk.honest for number in range(3)}
    faulty.always["hub"] = fault
    began = time.monotonic()
    with pytest.raises(HubUnavailableError, match=reason) as caught:
        read_all(opened(in_flight=2, patience=GIVING_UP))
    assert time.monotonic() - began < 3
    assert caught.value.exit_code == 9
    assert str(caught.value).startswith(f"acme/tiny@{'c' * 12}/{NAME}: The Hub sent no byte of it in ")
    assert str(caught.value).endswith("Run the same command later: it continues where it stopped.")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (lambda talk: talk.partial(ETag='"other"'), "its ETag was .*e.* and is .*other"),
        (lambda talk: talk.partial(X_Repo_Commit="d" * 40), "its X-Repo-Commit was c+ and is d+"),
        (lambda talk: talk.partial(Content_Range="bytes 0-1/99"), "has 99 bytes, and the Hub lists 201000"),
        (status(416), "and the Hub lists 201000"),
        (status(416, Content_Range="bytes */50000"), "has 50000 bytes, and the Hub lists 201000"),
    ],
    ids=["etag", "commit", "size", "end", "refused"],
)
def test_a_file_that_changes_while_it_is_read_is_refused(
    faulty: Faulty, opened: Opener, fault: Fault, reason: str
) -> None:
    faulty.faults["hub", 5] = fault
    with pytest.raises(SourceError, match=reason) as caught:
        read_all(opened())
    assert caught.value.exit_code == 4


def test_an_etag_that_only_became_weak_is_no_change(faulty: Faulty, opened: Opener) -> None:
    faulty.faults["hub", 5] = lambda talk: talk.partial(ETag='W/"e"')
    assert read_all(opened()) == faulty.content


@pytest.mark.parametrize(
    ("code", "headers", "reason"),
    [
        (403, {"X_Error_Code": "GatedRepo"}, "is gated"),
        (403, {}, "refuses to show it"),
        (401, {"X_Error_Code": "RepoNotFound"}, "no such repository, or it is private"),
        (404, {"X_Error_Code": "RevisionNotFound"}, "no such commit"),
        (404, {"X_Error_Code": "EntryNotFound"}, "does not have it"),
    ],
)
def test_a_refusal_is_told_at_once_and_asked_once_a_range(
    faulty: Faulty, opened: Opener, code: int, headers: dict[str, str], reason: str
) -> None:
    faulty.always["hub"] = status(code, **headers)
    with pytest.raises(SourceError, match=reason):
        read_all(opened(in_flight=1))
    assert len(faulty.seen) == 1


@pytest.mark.parametrize("begin", [0, 90_001])
def test_a_server_without_ranges_sends_the_file_once(faulty: Faulty, opened: Opener, begin: int) -> None:
    faulty.always["hub"] = Talk.whole
    assert read_all(opened(begin), begin) == faulty.content[begin:]
    asked_for_all = [seen for seen in faulty.seen if seen.span == (begin, len(faulty.content))]
    assert len(asked_for_all) == 1
    assert len(faulty.seen) <= 5  # the ranges that were on their way, then no more


def test_a_server_that_forgets_about_ranges_in_the_middle(faulty: Faulty, opened: Opener) -> None:
    faulty.faults |= {("hub", number): Talk.honest for number in range(6)}
    faulty.always["hub"] = Talk.whole
    assert read_all(opened()) == faulty.content


def test_one_transfer_of_all_that_breaks_goes_on_too(faulty: Faulty, opened: Opener) -> None:
    def broken(talk: Talk) -> None:
        talk.head(200, {"Content-Length": str(len(talk.faulty.content))})
        talk.body(talk.faulty.content[:120_000])
        talk.reset()

    faulty.faults |= {("hub", 0): Talk.whole, ("hub", 1): broken}
    faulty.always["hub"] = Talk.whole
    assert read_all(opened(in_flight=1)) == faulty.content


def test_a_small_read_from_a_server_without_ranges_takes_its_part(faulty: Faulty, repository: Repository) -> None:
    faulty.always["hub"] = Talk.whole
    assert repository.read(NAME, 100_000, 10) == faulty.content[100_000:100_010]
    assert repository.read(NAME, 200_995, 10) == faulty.content[200_995:]
    assert repository.read(NAME, 300_000, 10) == b""
