"""Metrics of the service's inside, from its status at the time they are read."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from llmrec.serve.views import EngineView, Status

__all__ = ["StatusGauges"]


class StatusGauges(Collector):
    """A status as metrics.

    Args:
        status: of now; None: it could not be had, which is itself a metric.
        now: seconds since the epoch.
        draining: whether new requests are refused.
    """

    def __init__(self, status: Status | None, now: float, draining: bool) -> None:
        self._status, self._now, self._draining = status, now, draining

    def collect(self) -> Iterator[Metric]:
        """The metrics."""
        status = self._status
        yield GaugeMetricFamily("llmrec_status_up", "Whether the status could be had.", float(status is not None))
        yield GaugeMetricFamily("llmrec_draining", "Whether new requests are refused.", float(self._draining))
        if status is None:
            return
        yield GaugeMetricFamily("llmrec_ready", "Whether requests are answered.", float(status.ready.ok))
        yield GaugeMetricFamily("llmrec_store_up", "Whether the database answers.", float(status.store_ok))
        yield GaugeMetricFamily("llmrec_start_seconds", "When the service started, since the epoch.", status.started)
        yield GaugeMetricFamily("llmrec_store_events", "Events in the store.", status.events)
        yield GaugeMetricFamily("llmrec_learner_lag_events", "Events that are not learned yet.", status.learner_lag)
        yield from _engine(status.engine)
        yield from self._aliases(status)
        drift = GaugeMetricFamily("llmrec_drift_index", "Population stability index of what is asked.", labels=["of"])
        for view in status.drift:
            drift.add_metric([view.name], view.index)
        yield drift

    def _aliases(self, status: Status) -> Iterator[Metric]:
        items = GaugeMetricFamily("llmrec_items", "Items that may be recommended.", labels=["alias"])
        age = GaugeMetricFamily("llmrec_index_age_seconds", "Since the bundle was fitted.", labels=["alias"])
        bundle = GaugeMetricFamily("llmrec_bundle", "1 for the bundle in use.", labels=["alias", "bundle"])
        version = GaugeMetricFamily("llmrec_snapshot_version", "Grows with every change.", labels=["alias"])
        coverage = GaugeMetricFamily("llmrec_coverage", "Share of items shown since the start.", labels=["alias"])
        for view in status.aliases:
            items.add_metric([view.alias], view.items)
            age.add_metric([view.alias], self._now - (view.loaded if view.fitted is None else view.fitted))
            bundle.add_metric([view.alias, view.bundle], 1.0)
            version.add_metric([view.alias], view.version)
        for alias, share in status.coverage.items():
            coverage.add_metric([alias], share)
        yield from (items, age, bundle, version, coverage)


def _engine(engine: EngineView) -> Iterator[Metric]:
    gauges = {"waiting": engine.waiting, "working": engine.working, "capacity": engine.queue}
    texts = {"waiting": "in the queue", "working": "in the batch that is worked on", "capacity": "that may wait"}
    for name, value in gauges.items():
        yield GaugeMetricFamily(f"llmrec_queue_{name}", f"Requests {texts[name]}.", value)
    counters = {
        "answered": ("Lists that were made.", engine.answered),
        "refused": ("Requests refused, for the queue was full.", engine.refused),
        "late": ("Requests whose deadline passed.", engine.late),
        "degraded": ("Lists without their later stages.", engine.degraded),
        "worker_restarts": ("Restarts of the worker.", engine.restarts),
    }
    for name, (text, value) in counters.items():
        yield CounterMetricFamily(f"llmrec_{name}", text, value)
    latency = GaugeMetricFamily("llmrec_latency_ms", "Of the last thousand answers.", labels=["quantile"])
    for name, ms in engine.latency.items():
        latency.add_metric([name], ms)
    stages = GaugeMetricFamily("llmrec_stage_ms", "Moving average by stage.", labels=["stage"])
    for name, ms in engine.stages.items():
        stages.add_metric([name], ms)
    yield from (latency, stages)
