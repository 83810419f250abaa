"""A typed client of the service; loads neither torch nor anything else of llmrec.

::

    from llmrec.client import Client, Wanted

    with Client("http://localhost:8080") as client:
        for item in client.recommend(Wanted(user_id="c042", k=5)).items:
            print(item.rank, item.fields["title"])
"""

from llmrec.client._http import Patience
from llmrec.client.admin import Admin
from llmrec.client.client import Client
from llmrec.client.errors import (
    BusyError,
    ConflictError,
    DeadlineError,
    InvalidRequestError,
    KeyRefusedError,
    NotFoundError,
    ServiceError,
    UnreachableError,
)
from llmrec.client.reports import (
    AliasInfo,
    DayCounts,
    Deployment,
    Drift,
    EngineInfo,
    Experiment,
    Job,
    Readiness,
    Status,
)
from llmrec.client.results import (
    Added,
    BulkLine,
    Candidate,
    Erased,
    Explanation,
    Item,
    Listed,
    ListedItem,
    Reason,
    Stage,
    StoredEvent,
    Traced,
    User,
)
from llmrec.client.wanted import Event, Wanted

__all__ = [
    "Added",
    "Admin",
    "AliasInfo",
    "BulkLine",
    "BusyError",
    "Candidate",
    "Client",
    "ConflictError",
    "DayCounts",
    "DeadlineError",
    "Deployment",
    "Drift",
    "EngineInfo",
    "Erased",
    "Event",
    "Experiment",
    "Explanation",
    "InvalidRequestError",
    "Item",
    "Job",
    "KeyRefusedError",
    "Listed",
    "ListedItem",
    "NotFoundError",
    "Patience",
    "Readiness",
    "Reason",
    "ServiceError",
    "Stage",
    "Status",
    "StoredEvent",
    "Traced",
    "UnreachableError",
    "User",
    "Wanted",
]
