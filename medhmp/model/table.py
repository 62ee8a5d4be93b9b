"""What a model on counted features is fitted on."""

from dataclasses import dataclass

from medhmp.arrays import Floats32


@dataclass(frozen=True)
class Table:
    """The labelled rows of one split."""

    features: Floats32  # (n, D), of ``medhmp/shards/tabular.py``
    label: Floats32  # (n) in {0, 1}, both of them present
    blocks: tuple[int, ...]  # columns that are of one kind, one kind after another; sum D
