"""Metrics of HTTP for Prometheus: by route template, method and status, never by an id."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.registry import Collector

from llmrec.serve.http.drain import Door

__all__ = ["CONTENT_TYPE", "HttpMetrics", "exposition"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class HttpMetrics:
    """Counts answers. Thread-safe.

    Args:
        door: tells how many requests are inside.
    """

    def __init__(self, door: Door) -> None:
        self.registry = CollectorRegistry()
        by = ("route", "method")
        self._requests = Counter(
            "llmrec_http_requests", "Requests, by route template.", (*by, "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "llmrec_http_request_seconds",
            "Time from a request's first byte to its answer's last.",
            by,
            buckets=_SECONDS,
            registry=self.registry,
        )
        inside = Gauge("llmrec_http_inside", "Requests that are worked on.", registry=self.registry)
        inside.set_function(lambda: door.inside)

    def count(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answer.

        Args:
            route: the template; empty: no route.
            method: of HTTP; odd ones are counted as "other".
            status: of the answer.
            seconds: it took.
        """
        route, method = route or "none", method if method in _METHODS else "other"
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route, method).observe(seconds)


def exposition(metrics: HttpMetrics, *more: Collector) -> bytes:
    """The text that Prometheus reads."""
    registry = CollectorRegistry()
    for collector in more:
        registry.register(collector)
    return bytes(generate_latest(metrics.registry)) + bytes(generate_latest(registry))
