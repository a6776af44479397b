"""The Jinja templates of model cards and of the snippet in them; installed as ``pipeline.cards``."""
