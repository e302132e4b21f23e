"""Metrics of attempts at jobs in this process. Jobs by state are counted in the table when Prometheus asks."""

from prometheus_client import Counter, Histogram

OUTCOMES = ("completed", "failed", "again", "lost")
"""Outcomes of an attempt: the job has its result; it has failed for good; it will be retried; it was cancelled,
released, or taken over by another job worker."""
SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0)

attempts = Counter("parley_job_attempts", "Attempts at jobs that have ended.", ["outcome"])
attempt_seconds = Histogram(
    "parley_job_attempt_seconds", "From the beginning of an attempt to the result of its job.", buckets=SECONDS
)

for _outcome in OUTCOMES:  # start each series at 0: Prometheus does not see an increase in one that starts at 1
    attempts.labels(_outcome)


def ended(outcome: str, seconds: float) -> None:
    """Record the end of an attempt with one of OUTCOMES."""
    attempts.labels(outcome).inc()
    if outcome == "completed":
        attempt_seconds.observe(seconds)
