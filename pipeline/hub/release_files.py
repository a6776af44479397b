"""The files of a published repository that other programs may rely on, by their paths in it."""

from __future__ import annotations

from typing import Final

CARD: Final = "README.md"
WORST: Final = "images/worst.png"  # source beside candidate where they differ most
MEDIAN: Final = "images/median.png"  # and where they differ as much as in the middle
QUESTIONS: Final = "publish/questions"  # further files of what was asked, each named after its SHA-256
USAGE: Final = "publish/usage.py"  # the card's snippet
RECIPE: Final = "publish/recipe.yaml"  # as written
PLAN: Final = "publish/plan.json"  # as resolved
REPORT: Final = "publish/report.json"  # as measured
PROVENANCE: Final = "publish/provenance.json"
MANIFEST: Final = "publish/manifest.json"  # every file but itself and the signature
SIGNATURE: Final = "publish/signature.json"
YANKED: Final = "publish/yanked.json"  # which tags were withdrawn, and why
WRITTEN: Final = frozenset({CARD, WORST, MEDIAN, USAGE, RECIPE, PLAN, REPORT, PROVENANCE, MANIFEST, SIGNATURE})
