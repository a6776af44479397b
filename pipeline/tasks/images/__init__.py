"""Images: what tasks whose answers are pictures have in common."""
