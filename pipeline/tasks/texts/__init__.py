"""Texts: what tasks whose answers are texts have in common."""
