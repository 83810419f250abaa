"""The HTTP API: what can be asked at which address, and how it is answered."""

from llmrec.serve.api.document import document
from llmrec.serve.api.routers import routers

__all__ = ["document", "routers"]
