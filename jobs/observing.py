"""What is measured of attempts at jobs in this process; jobs by state are counted in the table when Prometheus asks."""

from prometheus_client import Counter, Histogram

OUTCOMES = ("completed", "failed", "again", "lost")
"""Of an attempt: the job has its result; it has failed for good; it is to be tried again; it was cancelled, given back,
or taken up by another."""
SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0)

attempts = Counter("parley_job_attempts", "Attempts at jobs that have ended.", ["outcome"])
attempt_seconds = Histogram(
    "parley_job_attempt_seconds", "From the beginning of an attempt to the result of its job.", buckets=SECONDS
)

for _outcome in OUTCOMES:  # Prometheus sees no increase in a series that appears with a 1 in it
    attempts.labels(_outcome)


def ended(outcome: str, seconds: float) -> None:
    """An attempt has, in one of OUTCOMES."""
    attempts.labels(outcome).inc()
    if outcome == "completed":
        attempt_seconds.observe(seconds)
