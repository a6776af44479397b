"""``python -m pipeline.cli`` is ``publish``."""

from pipeline.cli import main

main()
