"""The HTML pages of the project: runs, studies, analyses and captions."""

from lycoris.report.run.page import render

__all__ = ["render"]
