"""Where a fit computes: what Ray reserved for it, and nothing else."""

import ray
import torch


def reserved_device() -> torch.device:
    """The GPU that Ray reserved for this task or trial, the CPU where it reserved none.

    PyTorch sees every GPU of the node from a task that reserved none, so what it sees says nothing:
    all of a node's trials would crowd on its first GPU.
    """
    reserved = ray.get_runtime_context().get_accelerator_ids().get("GPU")
    return torch.device("cuda" if reserved else "cpu")
