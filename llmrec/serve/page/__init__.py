"""The web page over the service: rendered on the server, usable without scripts, nicer with ours."""

from __future__ import annotations

from llmrec.serve.page.router import mount, router

__all__ = ["mount", "router"]
