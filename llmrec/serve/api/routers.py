"""All operations, in the order of the document."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from fastapi import APIRouter

from llmrec.serve.api import admin, events, experiments, health, items, lists, users

__all__ = ["routers"]


def routers() -> tuple[APIRouter, ...]:
    """The routers of the API."""
    found = (
        lists.router,
        events.router,
        items.router,
        users.router,
        admin.router,
        experiments.router,
        health.router,
    )
    bulk = "llmrec.serve.api.bulk"
    return (*found, import_module(bulk).router) if find_spec(bulk) else found
