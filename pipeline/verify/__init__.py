"""Verification: what is published or made, held against what it says of itself and against its source."""
