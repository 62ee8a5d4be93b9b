"""The Ray of a job: its own on loopback, or the cluster it is told of if that is the right one."""

import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from medhmp import ray_cluster
from medhmp.refusal import Refusal

BOUND = 15.0
"""Seconds within which a job that cannot have its Ray ends."""

SERVE = """
import json, os, sys
os.umask(0o022)
from medhmp.ray_session import start_embedded
start_embedded(num_cpus=1, object_store_memory=100 << 20)
import ray
import psutil  # Ray's own copy
me = psutil.Process()
print(json.dumps({
    "address": ray.get_runtime_context().gcs_address,
    "ports": [[c.laddr.ip, c.laddr.port] for p in (me, *me.children(recursive=True))
              for c in p.net_connections() if c.status == "LISTEN"],
    "session": ray._private.worker._global_node.get_session_dir_path(),
}), flush=True)
sys.stdin.read()
"""
JOIN = """
import os
os.umask(0o027)
from medhmp.ray_session import start_ray
start_ray()
import ray

@ray.remote(runtime_env={"env_vars": {"OTHER": "1"}})
def mask():
    return os.umask(0)

print(ray.get_runtime_context().gcs_address, oct(ray.get(mask.remote())))
"""


@dataclass
class Own:
    """A Ray that another process has started for itself, of a user with a home of his own."""

    home: Path
    address: str
    ports: list[tuple[str, int]]
    session: Path

    def environment(self, **more: str) -> dict[str, str]:
        return {**environment(self.home), "RAY_ADDRESS": self.address, **more}


def environment(home: Path) -> dict[str, str]:
    """This process's, without what the suite says of tokens and clusters."""
    dropped = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ADDRESS")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "HOME": str(home)}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    home = tmp_path_factory.mktemp("home")
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(home),
    )
    assert process.stdout
    said = json.loads(process.stdout.readline())
    ports = [(ip, port) for ip, port in said["ports"]]
    yield Own(home, said["address"], ports, Path(said["session"]))
    process.communicate("", timeout=60)
    assert not Path(said["session"]).parent.parent.exists()


@pytest.mark.ray
def test_a_ray_of_its_own_listens_on_loopback_and_its_files_are_its_owner_s(own: Own) -> None:
    assert len(own.ports) >= 4
    assert {ip for ip, _ in own.ports} <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    private = own.session.parent.parent  # Ray opens its own folders to everybody
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    token = own.home / ".ray" / "auth_token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert stat.S_IMODE(token.parent.stat().st_mode) == 0o700


@pytest.mark.ray
def test_told_of_it_a_job_joins_says_so_and_its_workers_take_its_umask(own: Own) -> None:
    joined = subprocess.run(
        [sys.executable, "-c", JOIN], env=own.environment(), capture_output=True, text=True
    )  # fmt: skip
    assert joined.returncode == 0, joined.stderr
    assert f"Ray: joined the cluster at {own.address}, 1 node\n" in joined.stdout
    assert joined.stdout.splitlines()[-1] == f"{own.address} 0o27"


@pytest.mark.ray
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"RAY_AUTH_TOKEN": "f" * 64}, "refuses this job's token"),
        ({"RAY_AUTH_MODE": "disabled"}, "refuses this job's token"),
        ({"HOME": "/nonexistent"}, "asks for a token"),
        ({"RAY_ADDRESS": "http://user:word@127.0.0.1:8265"}, "begins with http:// and a job"),
        ({"RAY_ADDRESS": "127.0.0.1:9"}, "no Ray answers at 127.0.0.1:9"),
    ],
)
def test_a_job_that_cannot_join_ends_soon_with_a_sentence(own: Own, tmp_path, wrong, said) -> None:
    began = time.monotonic()
    job = subprocess.run(
        [sys.executable, "-m", "jobs.featurize", "smoke", "--out", str(tmp_path)],
        env=own.environment(**wrong), capture_output=True, text=True,
    )  # fmt: skip
    assert time.monotonic() - began < BOUND
    assert job.returncode == 2
    assert said in job.stderr
    assert job.stderr.count("\n") == 1
    assert not any(secret in job.stderr for secret in ("user:word", "f" * 64))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["head", ":6379", "head:", "head:port", "head:99999"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(Refusal, match="give HOST:PORT"):
        ray_cluster.reach(address)


def test_what_accepts_connections_and_never_answers_is_refused():
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        began = time.monotonic()
        with pytest.raises(Refusal, match=r"no Ray answers at 127\.0\.0\.1:.*deadline_exceeded"):
            ray_cluster.reach(f"127.0.0.1:{mute.getsockname()[1]}")
        assert time.monotonic() - began < BOUND


def test_auto_without_a_ray_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))  # the file that names the last Ray is not there
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", set)  # others' on this machine
    with pytest.raises(Refusal, match="is auto and no Ray runs on this machine"):
        ray_cluster.reach("auto")


@pytest.mark.parametrize(
    ("given", "asked"),
    [(None, None), ("", None), ("local", None), ("h:1", "h:1"), ("auto", "auto")],
)
def test_only_the_environment_names_a_cluster(monkeypatch, given, asked):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if given is not None:
        monkeypatch.setenv("RAY_ADDRESS", given)
    assert ray_cluster.asked_for() == asked


def test_a_token_that_others_may_read_becomes_its_owner_s(monkeypatch, tmp_path):
    from medhmp.ray_session import _guard_token

    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("0" * 64)
    token.chmod(0o644)
    _guard_token()
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert token.read_text() == "0" * 64
