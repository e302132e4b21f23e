"""A Ray cluster of this machine alone: `python -m pipeline.workers.on_ray.head`, started only by `cluster.py`.

Writes the cluster's address to its standard output, and ends the cluster when its standard input is closed, also
because the service was killed. A process of its own, because Ray's processes inherit the environment of the process
that starts them, and the service's contains secrets.
"""

import logging
import os
import signal
import sys
import tempfile

OBJECT_STORE_BYTES = 128 * 2**20
"""Shared memory for arguments and results over 100 KB that are on their way."""


def main() -> None:
    for asked_to_stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(asked_to_stop, signal.SIG_IGN)  # the service handles them, and then closes our input
    address_to = os.dup(1)
    os.dup2(2, 1)  # Ray may print
    import ray

    # A folder of our own: the default one, /tmp/ray, is shared by all users of the machine.
    with tempfile.TemporaryDirectory(prefix="parley-ray-", ignore_cleanup_errors=True) as folder:
        started = ray.init(
            # Replicas ask for no CPUs here; more would only start idle processes.
            num_cpus=1,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level=logging.WARNING,
            _node_ip_address="127.0.0.1",
            _temp_dir=folder,
        )
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Ray sets its own handler
        with os.fdopen(address_to, "w") as output:
            output.write(f"{started.address_info['gcs_address']}\n")
        sys.stdin.read()
        ray.shutdown()


if __name__ == "__main__":
    main()
