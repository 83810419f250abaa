"""Recommendations from text-described catalogs and interaction logs, with pretrained language models."""

__version__ = "0.1.0"
