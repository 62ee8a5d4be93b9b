"""A job submitted to a cluster through the job server, as ``ray job submit`` does it.

Run as a program this file is the cluster: ``test_submit.py PORT AGENT_PORT`` serves until its
input ends.
"""

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster
from ray.job_submission import JobStatus, JobSubmissionClient

from medhmp.run import Run
from medhmp.storage import COMPLETE

pytestmark = pytest.mark.ray

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def server() -> Iterator[str]:
    """Address of the job server of a one-node cluster in a process of its own."""
    cluster = subprocess.Popen(
        [sys.executable, __file__, *map(str, free_ports(2))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert cluster.stdin
    assert cluster.stdout
    yield cluster.stdout.readline().strip()
    cluster.stdin.close()
    cluster.wait(timeout=60)


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def serve(port: int, agent_port: int) -> None:
    """The agent starts the jobs; on its usual port that of another Ray may be listening."""
    head = {
        "num_cpus": 2,
        "include_dashboard": True,
        "dashboard_host": "127.0.0.1",
        "dashboard_port": port,
        "dashboard_agent_listen_port": agent_port,
        "object_store_memory": 256 << 20,
    }
    cluster = Cluster(initialize_head=True, head_node_args=head)
    print(f"http://127.0.0.1:{port}", flush=True)
    sys.stdin.read()
    cluster.shutdown()


def submit(client: JobSubmissionClient, **job: Any) -> str:
    """The node's agent, which starts jobs, may take some seconds more than the job server."""
    for _ in range(10):
        try:
            return client.submit_job(**job)
        except RuntimeError as error:
            if "No available agent" not in str(error):
                raise
        time.sleep(1)
    pytest.fail("the cluster has no agent to start jobs")


def status_at_end(client: JobSubmissionClient, job: str, seconds: float = 300) -> JobStatus:
    deadline = time.monotonic() + seconds
    while not (status := client.get_job_status(job)).is_terminal():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return status


def test_a_submitted_job_leaves_its_result(
    featurized: Run, branch: Callable[..., Run], arguments: list[str], server: str
) -> None:
    run = branch(featurized, "shards")
    job = f"{sys.executable} -m jobs.pretrain_stay {' '.join(arguments)} --out {run.out}"
    client = JobSubmissionClient(server)
    submitted = submit(
        client,
        entrypoint=f"{job} --no-quiet --pretrain-stay.epochs 2",
        runtime_env={"working_dir": str(ROOT), "excludes": ["runs", "tests"]},
    )
    status = status_at_end(client, submitted)
    printed = client.get_job_logs(submitted)
    assert status == JobStatus.SUCCEEDED, printed
    assert "pretrain_stay: loss" in printed
    assert re.search(r"pretrain_stay 1/2  loss \S+ .* rows/s", printed)  # while it trained
    folder = Path(run.out) / "pretrain_stay"
    assert (folder / COMPLETE).exists()
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in metrics] == [0, 1]


if __name__ == "__main__":
    serve(*map(int, sys.argv[1:]))
