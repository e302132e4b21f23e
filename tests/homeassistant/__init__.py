"""Parley as Home Assistant uses it: run by `make test-ha` in an environment of its own, not with the other tests."""
