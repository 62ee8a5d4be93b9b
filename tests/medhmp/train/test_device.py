"""The device of a fit, on a Ray that counts a GPU and a PyTorch that sees one.

Run as a program this file is that Ray: ``test_device.py FOLDER`` prints the devices of a task and
of a trial, and the shares of a GPU that trials take.
"""

import json
import os
import subprocess
import sys

import pytest

from medhmp.refusal import Refusal
from medhmp.train.device import reserved_device
from medhmp.train.finetune.grid import gpu_share

pytestmark = pytest.mark.ray


def test_a_fit_takes_the_gpu_that_was_reserved_for_it_and_no_other(tmp_path):
    ended = subprocess.run(
        [sys.executable, __file__, str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"},
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    kinds = {"0": "cpu", "0.25": "cuda"}
    found = json.loads(ended.stdout.splitlines()[-1])
    assert found == {"task": kinds, "trial": kinds, "shares": [0.25, 0.0, 1.0]}


def test_a_share_that_no_node_has_is_refused(ray):
    """Tune would wait for such a node for ever, without a word."""
    assert gpu_share(None) == 0.0
    with pytest.raises(Refusal, match=r"gpus_per_trial is 0\.5 and no node .* more than 0 GPUs"):
        gpu_share(0.5)


def devices(folder):
    import ray
    import ray.tune

    def kind():
        import torch

        torch.cuda.is_available = lambda: True
        return reserved_device().type

    def trials():
        asked = ray.tune.with_resources(
            lambda _: {"kind": kind()}, lambda config: {"CPU": 1, "GPU": config["gpus"]}
        )
        quiet = ray.tune.RunConfig(storage_path=folder, verbose=0)
        space = {"gpus": ray.tune.grid_search([0, 0.25])}
        found = ray.tune.Tuner(asked, param_space=space, run_config=quiet).fit()
        return {str(result.config["gpus"]): result.metrics["kind"] for result in found}

    def task(gpus):
        return ray.get(ray.remote(kind).options(num_gpus=gpus).remote())

    ray.init(address="local", num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False)
    shares = [gpu_share(given) for given in (None, 0.0, 1.0)]
    tasks = {str(gpus): task(gpus) for gpus in (0, 0.25)}
    return {"task": tasks, "trial": trials(), "shares": shares}


if __name__ == "__main__":
    print(json.dumps(devices(sys.argv[1])))
