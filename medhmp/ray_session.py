"""Ray as every job uses it: its environment, the cluster it joins, or the one it starts."""

import atexit
import contextlib
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from typing import Any, Final

from medhmp import ray_cluster
from medhmp.progress import Progress
from medhmp.ray_folder import RayFolder
from medhmp.refusal import Refusal, counted

# Read by Ray when it is imported or when its processes start. A value from outside always wins.
RAY_ENVIRONMENT: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_prestart_worker_first_driver": "0",  # our tasks would not take such workers
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
    "RAY_TRAIN_COLLECTIVE_TIMEOUT_S": "600",  # that ranks wait for one another: what hangs is named
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths keep their meaning inside workers
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # its logs are dropped; trials leave records of ours
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # it would end the grid alone, and the job go on without
    # Workers' lines reach the driver as they are, without what Ray's own actors complain of: that
    # the embedded Ray has no dashboard, and how Ray Train makes an actor.
    "RAY_DISABLE_WORKER_LOG_PREFIX": "1",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "Failed to query Ray Train|has constructor arguments in the",
}
for _name, _value in RAY_ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)


LOOPBACK: Final = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray's way to say: this machine alone
    "RAY_enable_metrics_collection": "0",  # else a port for Prometheus
    # Nobody's, since there is no dashboard: Ray Train would look for one among all Rays of this
    # machine and, where there are several, fail with a traceback.
    "RAY_API_SERVER_ADDRESS": "http://127.0.0.1:9",
}
"""What keeps an embedded Ray off the network, while it starts; its processes inherit it."""

_folders: Final[list[RayFolder]] = []
"""Of the embedded Ray of this process, while there is one."""


def start_ray(quiet: bool = False) -> bool:
    """Joins the cluster of RAY_ADDRESS, and says which, or starts an embedded one.

    A cluster that this machine merely runs is never joined: it may be somebody else's. Refuses one
    that does not answer or refuses the job's token. Returns False where this process has a Ray.
    """
    import ray

    hush_ray_data()
    if ray.is_initialized():
        return False
    # Workers' lines reach the driver: a plain log, too, hears of long work.
    if address := ray_cluster.asked_for():
        _join(ray_cluster.reach(address), quiet)
    else:
        start_embedded(log_to_driver=not quiet)
    return True


def start_embedded(**options: Any) -> None:
    """Starts a Ray of this process's own, on loopback, that nobody else can reach or read.

    ``options`` are more arguments of ``ray.init``. Its processes have this process's umask; its
    folder goes with it.
    """
    import ray

    _guard_token()
    _folders.append(folder := RayFolder.make())
    atexit.register(end_ray)
    with _on_loopback():
        ray.init(
            address="local",
            include_dashboard=False,
            logging_level="ERROR",
            _temp_dir=str(folder.session),
            object_spilling_directory=str(folder.spill),
            **options,
        )


def end_ray() -> None:
    """Ends the embedded Ray and its folder, or leaves the cluster."""
    import ray

    ray.shutdown()
    remove_folder()


def remove_folder() -> None:
    """Removes the folder of an embedded Ray whose processes have ended."""
    while _folders:
        _folders.pop().remove()


def is_embedded() -> bool:
    """True if the job's Ray is its own, on this machine, rather than a cluster that it joins."""
    return ray_cluster.asked_for() is None


def _join(address: str, quiet: bool) -> None:
    import ray
    from ray._private.services import find_node_ids
    from ray._raylet import Config  # type: ignore[attr-defined]

    Config.initialize("")  # else a token mode set since Ray was imported would not count
    if not find_node_ids():
        raise Refusal(
            f"this machine is no node of the Ray at {address}; submit the job (ray job submit "
            f"--address http://HOST:8265 -- ...), or {ray_cluster.OWN}"
        )
    near = _on_loopback() if ray_cluster.is_loopback(address) else contextlib.nullcontext()
    try:
        with near:
            ray.init(
                address=address,
                log_to_driver=not quiet,
                logging_level="ERROR",
                # A node's umask is whatever its Ray was started with.
                runtime_env={"worker_process_setup_hook": _umask_of_this_process()},
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise Refusal(
            f"the Ray at {address} answers and cannot be joined ({type(error).__name__}); see its "
            f"logs, and that this machine is one of its nodes, or {ray_cluster.OWN}"
        ) from error
    nodes = counted(len(ray.nodes()), "node")
    Progress(quiet).say(f"Ray: joined the cluster at {address}, {nodes}")


def _umask_of_this_process() -> Callable[[], None]:
    mask = os.umask(0o077)
    os.umask(mask)

    def keep_umask() -> None:
        os.umask(mask)

    return keep_umask


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """Makes Ray take 127.0.0.1 for the address of this machine."""
    from ray._private import ray_constants

    before = {name: os.environ.get(name) for name in LOOPBACK}, ray_constants.ENABLE_RAY_CLUSTER
    os.environ.update(LOOPBACK)
    ray_constants.ENABLE_RAY_CLUSTER = False  # read from the environment as Ray was imported
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before[1]
        for name, value in before[0].items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _guard_token() -> None:
    """Sees to it that the token of an embedded Ray is its owner's alone: Ray makes its file by the
    umask, and reads one that others may read."""
    if os.environ.get(ray_cluster.TOKEN) or os.environ.get(ray_cluster.MODE) == "disabled":
        return
    file = ray_cluster.token_file()
    try:
        if ray_cluster.own_token():
            if file.stat().st_mode & 0o077:
                file.chmod(0o600)
            return
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(file, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as made:
            made.write(secrets.token_hex(32))
    except OSError:  # no home to write to, or not ours: a token that lives as long as the job
        os.environ[ray_cluster.TOKEN] = secrets.token_hex(32)


def hush_ray_data() -> None:
    """Silences Ray Data's own progress output, in every process that reads datasets: its
    environment variable is ignored once ``ray.data`` has been imported."""
    import ray.data  # sets up its logger when imported

    logging.getLogger("ray.data").setLevel(logging.ERROR)  # else a line per execution
    ray.data.DataContext.get_current().enable_progress_bars = False
