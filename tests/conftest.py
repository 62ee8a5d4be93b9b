"""Fixtures of the whole suite: one real Ray, an S3 endpoint, the shared data where there is any."""

import contextlib
import functools
import os
import random
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow.fs as pafs
import pytest

# Before Ray is imported: it reads these once, and its workers inherit them.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "RAY_AUTH_MODE": "disabled",
    "RAY_DEDUP_LOGS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
    "RAY_TRAIN_COLLECTIVE_TIMEOUT_S": "180",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # A machine that stands still for a minute must not cost the suite its Ray, and with it pytest.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "300",
    "RAY_health_check_failure_threshold": "30",
    "AWS_EC2_METADATA_DISABLED": "true",
    "RAY_AUTH_TOKEN": "canary-token-0c6b1f5d",  # asked for by no Ray but those of its own tests
}
for _name, _value in _ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

# Workers import the project, and tests their own functions, from the repository.
ROOT = Path(__file__).resolve().parent.parent
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))

CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "RAY_AUTH_TOKEN")
"""What no output, log or console may repeat; ``canaries`` are their values."""

MOTO_PORT = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """Chooses the S3 endpoint before Ray starts: the environment's, else a moto server's."""
    if "AWS_ENDPOINT_URL" in os.environ:
        return
    config.stash[MOTO_PORT] = port = _free_port()
    os.environ.update(
        AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}",
        AWS_ACCESS_KEY_ID="CANARYKEY7Q2ZWVXT4N5M",
        AWS_SECRET_ACCESS_KEY="canary-secret-5hX0w9pLqZr2uTn8",
        AWS_SESSION_TOKEN="canary-session-e81b70aa92",
        AWS_REGION="us-east-1",
        AWS_DEFAULT_REGION="us-east-1",
    )


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    # Not in the header, which -q leaves out.
    kind = "a moto server of this session" if MOTO_PORT in config.stash else "of the environment"
    terminalreporter.write_line(f"s3 endpoint: {os.environ['AWS_ENDPOINT_URL']} ({kind})")


def _free_port() -> int:
    """A free port below those that the system gives out: minutes pass before the server takes it,
    in which a Ray may be given any of those."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    pytest.fail("no port from 20000 to 31999 is free")


def _wait_for(url: str, seconds: float = 60) -> None:
    place = urlsplit(url)
    port = place.port or (443 if place.scheme == "https" else 80)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex((place.hostname or "", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail(f"no S3 server answers at {url}")


@pytest.fixture(scope="session")
def _s3_server(request: pytest.FixtureRequest) -> Iterator[None]:
    """A server at the endpoint, started here unless the environment brought one."""
    server = None
    if MOTO_PORT in request.config.stash:
        port = str(request.config.stash[MOTO_PORT])
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", port],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    _wait_for(os.environ["AWS_ENDPOINT_URL"])
    yield
    if server is not None:
        server.terminate()
        server.wait(timeout=10)


@pytest.fixture
def s3(_s3_server: None) -> Iterator[str]:
    """URI of a fresh bucket, deleted with all it holds after the test."""
    bucket = f"medhmp-{uuid.uuid4().hex[:12]}"
    fs = pafs.S3FileSystem(
        endpoint_override=os.environ["AWS_ENDPOINT_URL"],
        allow_bucket_creation=True,
        allow_bucket_deletion=True,
    )
    fs.create_dir(bucket)
    yield f"s3://{bucket}"
    fs.delete_dir(bucket)


@pytest.fixture
def faulty(_s3_server: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``with faulty(rate=0.05) as faults``: the S3 endpoint fails now and then meanwhile."""
    from tests.faults import faulty_endpoint

    return functools.partial(faulty_endpoint, monkeypatch.setenv)


@pytest.fixture(scope="session")
def ray() -> Iterator[object]:
    """The session's Ray: two CPUs of this machine, never a cluster that happens to run on it."""
    import ray as module

    from medhmp.ray_session import start_embedded

    os.umask(0o077)  # as every job does
    start_embedded(num_cpus=2, log_to_driver=False, object_store_memory=512 << 20)
    yield module
    module.shutdown()


@pytest.fixture(scope="session")
def canaries() -> list[str]:
    """The credentials of this session's environment."""
    return [os.environ[name] for name in CREDENTIALS if name in os.environ]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Open-access tables and vendored schemas beside the repository; skips where there are none."""
    path = ROOT.parent / "shared"
    if not path.is_dir():
        pytest.skip(f"needs {path}, which is not here")
    return path
