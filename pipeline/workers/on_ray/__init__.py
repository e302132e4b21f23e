"""Models on a Ray cluster, with Ray Serve: MODEL_HOST=ray.

`cluster.py` connects this process to a cluster, or starts one of this machine alone (`head.py`). Each model is a Serve
deployment of `replica.py`: a worker of one copy, as on one machine, with its own scheduler. `versions.py` finds models
that no process uses any longer. `router.py` chooses the replica of a call among those that answer (`living.py`).
`worker.py` is the side of the service: it calls replicas by DeploymentHandle, never through Serve's HTTP server. Only
modules of this package import Ray, and only with MODEL_HOST=ray.
"""
