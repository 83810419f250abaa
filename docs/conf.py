"""Sphinx configuration: guides in Markdown, the reference from docstrings. Built with warnings as errors."""

from __future__ import annotations

from llmrec import __version__

project = "llmrec"
author = "The llmrec developers"
project_copyright = "The llmrec developers"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
# A type that only type checkers import is looked up by its bare name, which two classes may share (`Store`, `Item`).
suppress_warnings = ["ref.python"]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "exclude-members": "model_config"}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"llmrec {version}"
html_show_sourcelink = False
