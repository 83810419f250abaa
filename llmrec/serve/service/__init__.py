"""The service as one object: what the API and the page ask, and nothing of HTTP."""

from llmrec.serve.service.service import Service

__all__ = ["Service"]
