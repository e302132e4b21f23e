"""The choice of a replica for each call: the one with fewer calls of two, as Serve's own, among those that answer.

Serve copies this module into each process, so it has no state of its own."""

import random
from collections.abc import Sequence

from ray.serve.request_router import FIFOMixin, PendingRequest, ReplicaID, RequestRouter, RunningReplica

from pipeline.workers.on_ray.living import Living


class Router(FIFOMixin, RequestRouter):  # type: ignore[misc]
    """See `RequestRouter`: Serve calls its methods."""

    def initialize_state(self) -> None:
        """Called after the constructor."""
        self._living = Living(lambda: self.curr_replicas)

    async def choose_replicas(
        self, candidate_replicas: Sequence[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Return two for a call, which goes to the one with fewer calls."""
        among = await self._living.among(candidate_replicas)
        return [random.sample(among, min(2, len(among)))]

    def on_new_queue_len_info(self, replica_id: ReplicaID, num_ongoing_requests: int) -> None:
        """Called when a replica has accepted a call."""
        super().on_new_queue_len_info(replica_id, num_ongoing_requests)
        self._living.answered(replica_id)

    def on_replica_actor_unavailable(self, replica_id: ReplicaID) -> None:
        """Called when a replica could not be reached."""
        super().on_replica_actor_unavailable(replica_id)
        self._living.lost(replica_id)
