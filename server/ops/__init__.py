"""Health, metrics, status and kept conversations."""
