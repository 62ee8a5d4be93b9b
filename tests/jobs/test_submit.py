"""A job submitted to a cluster through the job server, as ``ray job submit`` does it.

Run as a program this file is the cluster: ``test_submit.py PORT`` serves until its input ends.
"""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.job_submission import JobStatus, JobSubmissionClient

from medhmp.run import Run
from medhmp.storage import COMPLETE

pytestmark = pytest.mark.ray

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def server() -> Iterator[str]:
    """Address of the job server of a one-node cluster in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    cluster = subprocess.Popen(
        [sys.executable, __file__, str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert cluster.stdin
    assert cluster.stdout
    yield f"http://{cluster.stdout.readline().strip()}"
    cluster.stdin.close()
    cluster.wait(timeout=60)


def serve(port: int) -> None:
    context = ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        dashboard_port=port,
        object_store_memory=256 << 20,
    )
    print(context.dashboard_url, flush=True)
    sys.stdin.read()


def submit(client: JobSubmissionClient, **job: Any) -> str:
    """The node's agent, which starts jobs, may take some seconds more than the job server."""
    for _ in range(60):
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
    cohort: Run, branch: Callable[..., Run], arguments: list[str], server: str
) -> None:
    run = branch(cohort, "shards")
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
    folder = Path(run.out) / "pretrain_stay"
    assert (folder / COMPLETE).exists()
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in metrics] == [0, 1]


if __name__ == "__main__":
    serve(int(sys.argv[1]))
