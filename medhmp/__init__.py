"""Hierarchical pretraining on multimodal electronic health records, as batch jobs on Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medhmp.version import __version__ as __version__

if TYPE_CHECKING:
    from medhmp.pretrained.model import TrainedModel


def from_pretrained(uri: str, device: str | None = None) -> TrainedModel:
    """Loads a trained model from its folder, local or ``s3://bucket/key``; needs no Ray.

    ``device`` is where a network computes, such as "cuda"; none: the CPU.
    """
    from medhmp.pretrained.model import from_pretrained

    return from_pretrained(uri, device)
