"""The card of a release: written again from its plan and its report, and compared with the one that is served."""

from __future__ import annotations

from itertools import zip_longest
from typing import Final

from pipeline.card.compose import Card, compose_published
from pipeline.errors import CardError
from pipeline.hub.release_files import CARD, PAGE, PLAN, REPORT, USAGE, YANKED
from pipeline.hub.withdrawn import Withdrawals
from pipeline.release.documents import Documents
from pipeline.release.yank import banner, with_banner

SHOWN: Final = 80  # letters of a line


def require_same(documents: Documents, address: str) -> None:
    """Refuse a card, or the snippet beside it, that is not what this version writes of the same plan and report.

    Args:
        documents: What the release says of itself.
        address: Of the Hub, for what a withdrawal links to.

    Raises:
        VerificationError: With the first line that differs.
    """
    written = documents.read(f"{PLAN} and {REPORT}", lambda: written_again(documents))
    served, text = documents.content(CARD), written.text
    if YANKED in documents.manifest.files:
        known = documents.read(YANKED, lambda: Withdrawals.model_validate_json(documents.content(YANKED)))
        text = withdrawn(text, served, known, address)
    both = [(CARD, served, text), (USAGE, documents.content(USAGE), written.usage)]
    both += [(path, documents.content(path), usage) for path, usage in written.further.items()]
    if written.page:
        both.append((PAGE, documents.content(PAGE), written.page))
    for name, found, meant in both:
        if told := difference(found, meant.encode()):
            raise documents.differs(f"{name}:{told}")


def written_again(documents: Documents) -> Card:
    """Return the card as it was written.

    Raises:
        ValueError: None can be written from these documents.
    """
    try:
        return compose_published(documents.plan, documents.measured)
    except (CardError, LookupError, ArithmeticError, StopIteration) as error:
        raise ValueError(f"no card can be written from them ({error})") from error


def withdrawn(card: str, served: bytes, known: Withdrawals, address: str) -> str:
    """Return a card under the notices of the withdrawals since it was released.

    Which they are, and in which order, only the card that is served tells: the list of withdrawals has older ones, too.
    There is one at least, and there is that of the release itself.

    Args:
        card: The card as it was released.
        served: The card as it is served.
        known: All withdrawals of the repository.
        address: Of the Hub.
    """
    notices = {banner(tag, one, to): (tag, to) for tag, one in known.tags.items() for to in (address, "")}
    lines = [f"{line}\n" for line in served.decode(errors="replace").split("\n")]
    there = dict(notices[line] for line in lines if line in notices)
    shown = known.shown.tag if known.shown else ""
    for tag in [shown] if shown in known.tags else [] if there else list(known.tags)[:1]:
        there.setdefault(tag, address)
    for tag, to in reversed(there.items()):
        one = known.tags[tag]
        card = with_banner(card, banner(tag, one, to), one.new_version if tag == shown else None, CARD)
    return card


def difference(found: bytes, meant: bytes) -> str:
    """Return the first line in which two texts differ, from the word on that does; empty where they are the same."""
    for number, (one, other) in enumerate(zip_longest(found.split(b"\n"), meant.split(b"\n")), 1):
        if one != other:
            same = next((at for at, (a, b) in enumerate(zip_longest(one or b"", other or b"")) if a != b), 0)
            begin = (one or b"").rfind(b" ", 0, same) + 1
            return f"{number} says {excerpt(one, begin)} where {excerpt(other, begin)} belongs."
    return ""


def excerpt(line: bytes | None, begin: int) -> str:
    """Return a line from a word on, in quotes; what stands in no line is nothing."""
    if line is None:
        return "nothing"
    text = line[begin:].decode(errors="replace")
    return repr(text[:SHOWN] + "…" if len(text) > SHOWN else text)
