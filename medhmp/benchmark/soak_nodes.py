"""Pretraining on a simulated cluster that loses two nodes: one announced, one unannounced."""

import os
import tempfile
import time
from dataclasses import dataclass
from typing import Any, Final

from medhmp.benchmark.processes import ONE_THREAD, Job, flags, wait_until
from medhmp.benchmark.soak_train import content
from medhmp.storage import Folder
from medhmp.train import checkpoint
from medhmp.train.checkpoint import Position

DRAINED_MS: Final = 10_000
"""Milliseconds between the notice and the end of a node."""
PATIENCE_S: Final = 300.0


@dataclass(frozen=True)
class SoakNodes:
    """A head and two nodes, each large enough for the whole run.

    The node with the workers is drained, as before a spot instance goes, and then removed. When a
    third node has come, the second is removed unannounced. Exits with status 1 unless the run ends
    as an undisturbed one does.
    """

    workers: int = 2
    patients: int = 160  # of the synthetic cohort
    epochs: int = 600  # enough to outlast the nodes
    checkpoint_steps: int = 200

    def run(self) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as scratch:
            place = Folder(scratch)
            whole, lost = place / "whole", place / "lost"
            arguments = ["--tables.synthetic.patients", str(self.patients)]
            for job in ("synthesize", "featurize"):
                Job(job, whole, *arguments).finish()
            os.makedirs(f"{lost}")
            os.symlink(f"{whole}/shards", f"{lost}/shards")
            arguments += flags(
                "pretrain_stay",
                workers=self.workers,
                epochs=self.epochs,
                batch_size=32,
                checkpoint_steps=self.checkpoint_steps,
            )
            arguments += ["--model.width", "16"]
            Job("pretrain_stay", whole, *arguments).finish()
            expected = content(whole / "pretrain_stay")
            steps = int(expected[1][0]["steps"])
            announced = self._lose(lost, steps, arguments)
            if content(lost / "pretrain_stay") != expected:
                raise SystemExit("without its nodes it ended with other weights or other metrics")
        if not announced:
            raise SystemExit("no checkpoint was made when the first node's end was announced")
        return {"nodes_lost": 2.0, "checkpoints_on_notice": float(announced)}

    def _lose(self, out: Folder, steps: int, arguments: list[str]) -> int:
        """Runs it on a cluster of its own; returns the number of checkpoints the notice caused."""
        from ray.cluster_utils import Cluster

        folder = out / "pretrain_stay"
        cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
        )
        try:
            first = cluster.add_node(num_cpus=self.workers)
            environment = {**ONE_THREAD, "RAY_ADDRESS": cluster.address}
            job = Job("pretrain_stay", out, *arguments, environment=environment)
            _wait_for_more(job, folder, Position(0))
            second = cluster.add_node(num_cpus=self.workers)
            announced = _drain(cluster, first, folder, steps, self.checkpoint_steps)
            at = _newest(folder)
            cluster.remove_node(first, allow_graceful=False)
            print(f"first node drained and taken away at {at}", flush=True)
            cluster.add_node(num_cpus=self.workers)
            _wait_for_more(job, folder, at)
            at = _newest(folder)
            cluster.remove_node(second, allow_graceful=False)
            print(f"second node taken away at {at}", flush=True)
            job.finish()
            return announced
        finally:
            cluster.shutdown()


def _drain(cluster: Any, node: Any, folder: Folder, steps: int, interval: int) -> int:
    """Announces that a node goes and waits until its deadline.

    Returns the number of checkpoints that neither the interval nor the end of an epoch of ``steps``
    steps explains.
    """
    import ray._raylet
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason

    deadline = int(time.time() * 1000) + DRAINED_MS
    client = ray._raylet.GcsClient(address=cluster.address)
    reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    client.drain_node(node.node_id, reason, "a spot instance goes", deadline)
    seen: set[Position] = set()
    while time.time() * 1000 < deadline:
        seen |= {at for at in checkpoint.positions(folder) if at.step}
        time.sleep(0.01)
    return sum((at.epoch * steps + at.step) % (interval // 2) > 0 for at in seen)


def _newest(folder: Folder) -> Position:
    return max(checkpoint.positions(folder, whole=True), default=Position(0))


def _wait_for_more(job: Job, folder: Folder, at: Position) -> None:
    wait_until(lambda: _newest(folder) > at or job.has_ended, PATIENCE_S)
    if job.has_ended:
        raise SystemExit(f"the run ended at {_newest(folder)}, before its nodes were lost")
