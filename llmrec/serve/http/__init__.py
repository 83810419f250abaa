"""HTTP around the service: who may ask, bounds, problems, metrics, logs, safe headers.

It knows nothing of single routes.
"""

from llmrec.serve.http.drain import Door
from llmrec.serve.http.edge import Edge, EdgeSettings
from llmrec.serve.http.gate import Caller, Gate, Need, check_local
from llmrec.serve.http.handlers import add_handlers
from llmrec.serve.http.keys import KeyCache
from llmrec.serve.http.route import GuardedRoute, caller_of, guarded_routes, needs

__all__ = [
    "Caller",
    "Door",
    "Edge",
    "EdgeSettings",
    "Gate",
    "GuardedRoute",
    "KeyCache",
    "Need",
    "add_handlers",
    "caller_of",
    "check_local",
    "guarded_routes",
    "needs",
]
