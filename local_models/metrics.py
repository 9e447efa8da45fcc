"""What Prometheus is told."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from local_models.lane import Lane

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0)


class Metrics:
    """The metrics of one server, in a registry of their own. The label `work` is stt, tts or chat."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.requests = Counter(
            "local_models_requests", "Requests by path and status.", ["path", "status"], registry=self._registry
        )
        self.wait_seconds = Histogram(
            "local_models_wait_seconds", "Time in the queue.", ["work"], buckets=_SECONDS, registry=self._registry
        )
        self.work_seconds = Histogram(
            "local_models_work_seconds",
            "Time that a model worked.",
            ["work"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._queue = Gauge("local_models_queue_length", "Work that waits.", ["work"], registry=self._registry)
        self._busy = Gauge("local_models_busy", "Work that runs.", ["work"], registry=self._registry)

    def watch(self, lane: Lane) -> None:
        """Shows a lane's queue, what runs in it and how long that takes."""
        self._queue.labels(lane.name).set_function(lambda: lane.waiting)
        self._busy.labels(lane.name).set_function(lambda: lane.busy)
        lane.on_wait = self.wait_seconds.labels(lane.name).observe
        lane.on_work = self.work_seconds.labels(lane.name).observe

    def render(self) -> bytes:
        """Returns the text that Prometheus scrapes."""
        return generate_latest(self._registry)
