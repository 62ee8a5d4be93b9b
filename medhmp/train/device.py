"""The device that Ray reserved for a fit, and batches copied to it."""

import torch

from medhmp.shards.rows import Batch, widened


def reserved_device() -> torch.device:
    """The GPU that Ray reserved for this task or trial; the CPU if it reserved none.

    A task that reserved no GPU still sees all GPUs of its node through PyTorch. If fits went by
    that, all trials of a node would crowd on its first GPU.
    """
    import ray  # here: a trained model also scores where there is no Ray

    reserved = ray.get_runtime_context().get_accelerator_ids().get("GPU")
    return torch.device("cuda" if reserved else "cpu")


def to_device(batch: Batch, device: torch.device | None) -> Batch:
    """Copies a batch to the device without waiting; widens narrow ids there."""
    if device is None:
        return batch
    return {name: widened(value.to(device, non_blocking=True)) for name, value in batch.items()}
