"""Checkpoint folders: what is in them, how tensors stream in and out, and what a library makes of a component."""
