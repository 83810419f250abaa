"""The engine: requests wait in one line, and a worker answers those that go together with one call."""

from llmrec.serve.engine.answer import Answer
from llmrec.serve.engine.engine import Engine
from llmrec.serve.engine.reading import QueryRow, read_request, together

__all__ = ["Answer", "Engine", "QueryRow", "read_request", "together"]
