"""Starter: a first recipe for a model that nobody wrote one for, from its index and headers alone."""

from pipeline.fleet.starter.needs import NEEDS, needs_of
from pipeline.fleet.starter.start import Started, find, locate, require_new, start, title

__all__ = ["NEEDS", "Started", "find", "locate", "needs_of", "require_new", "start", "title"]
