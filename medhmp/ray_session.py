"""Ray as every job uses it: its environment, joining a cluster or starting an embedded one."""

import logging
import os
from typing import Final

from medhmp.progress import is_submitted

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
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # it would end the grid alone, and the job go on without
    # Workers' lines reach the driver as they are, without what Ray's own actors complain of: that
    # the embedded Ray has no dashboard, and how Ray Train makes an actor.
    "RAY_DISABLE_WORKER_LOG_PREFIX": "1",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "Failed to query Ray Train|has constructor arguments in the",
}
for _name, _value in RAY_ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)


def start_ray(quiet: bool = False) -> bool:
    """Joins the cluster of the environment, or starts an embedded one on this machine.

    Returns False if this process has a Ray already.
    """
    import ray

    hush_ray_data()
    if ray.is_initialized():
        return False
    # Workers' lines reach the driver: a plain log, too, hears of long work.
    ray.init(log_to_driver=not quiet, logging_level="ERROR", include_dashboard=False)
    return True


def end_ray() -> None:
    """Ends the embedded Ray, or leaves the cluster."""
    import ray

    ray.shutdown()


def is_embedded() -> bool:
    """True if the job's Ray is its own, on this machine, rather than a cluster that it joins."""
    return "RAY_ADDRESS" not in os.environ and not is_submitted()


def hush_ray_data() -> None:
    """Silences Ray Data's own progress output, in every process that reads datasets: its
    environment variable is ignored once ``ray.data`` has been imported."""
    import ray.data  # sets up its logger when imported

    logging.getLogger("ray.data").setLevel(logging.ERROR)  # else a line per execution
    ray.data.DataContext.get_current().enable_progress_bars = False
