"""Faults on demand: an embedded Hub that fails as real ones do, for rehearsals and tests.

`rules` is the language in which faults are asked for, `choosing` says which request meets which, `acts` has what each
kind does, `connection` breaks the connection itself. Without rules none of it stands between client and Hub::

    faults = Faults(["POST /api/models/.*/commit/ lost", "PUT /uploads/ status=503 header=Retry-After:1 times=2"])
    with running(root, faults=faults) as endpoint:
        ...  # faults.rules may be replaced meanwhile; faults.seen lists every request and the rule it met
"""

from localhub.faults.choosing import Faults, Seen
from localhub.faults.middleware import faulty
from localhub.faults.rules import GRAMMAR, KINDS, Rule

__all__ = ["GRAMMAR", "KINDS", "Faults", "Rule", "Seen", "faulty"]
