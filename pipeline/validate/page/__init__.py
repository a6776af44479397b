"""The report page: one HTML file that tells a verdict, shows what it rests on, and needs nothing else."""

from pipeline.validate.page.document import Subject, render

__all__ = ["Subject", "render"]
