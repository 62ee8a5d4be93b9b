"""Where a fit computes: what Ray reserved for it, and nothing else; batches brought there."""

import ray
import torch

from medhmp.shards.rows import Batch, widened


def reserved_device() -> torch.device:
    """The GPU that Ray reserved for this task or trial, the CPU where it reserved none.

    PyTorch sees every GPU of the node from a task that reserved none, so what it sees says nothing:
    all of a node's trials would crowd on its first GPU.
    """
    reserved = ray.get_runtime_context().get_accelerator_ids().get("GPU")
    return torch.device("cuda" if reserved else "cpu")


def to_device(batch: Batch, device: torch.device | None) -> Batch:
    """The batch on the device, copied without waiting; narrow ids are widened there."""
    if device is None:
        return batch
    return {name: widened(value.to(device, non_blocking=True)) for name, value in batch.items()}
