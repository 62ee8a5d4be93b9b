"""The auxiliary targets of training stays beside the rows of a task."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from medhmp.arrays import Floats32
from medhmp.layout import AUXILIARY, TARGET_TABLE, TARGETS
from medhmp.refusal import Refusal
from medhmp.shards.labelled import TaskData
from medhmp.shards.manifest import OpenShards
from medhmp.storage import Folder, Output, opened


def open_targets(out: Folder, shards: OpenShards) -> Output:
    """Opens the targets of a run. Refuses those of other shards, or of none."""
    output = opened(out / AUXILIARY, "featurize")
    if output.hash != shards.output.hash:
        raise Refusal(
            f"{output.folder} is not of the shards in {shards.folder}; "
            "run jobs.featurize again with --overwrite"
        )
    return output


def with_targets(data: TaskData, targets: Output) -> TaskData:
    """The data of a task of stays, its training rows with their targets (n, K), NaN where unknown.

    The other splits get none: the table has no row of theirs.
    """
    table = targets.read_parquet(TARGET_TABLE)
    known, wanted = table["stay_id"].to_numpy(), data["train"].rows.row_id
    order = np.argsort(known)
    place = np.minimum(np.searchsorted(known, wanted, sorter=order), max(len(known) - 1, 0))
    found = np.full((len(wanted), len(TARGETS)), np.nan, np.float32)
    if len(known):
        has = known[order[place]] == wanted
        found[has] = _matrix(table)[order[place[has]]]
    return {**data, "train": replace(data["train"], targets=found)}


def _matrix(table: pa.Table) -> Floats32:
    columns = [table[name].to_numpy(zero_copy_only=False) for name in TARGETS]
    return np.stack(columns, axis=1).astype(np.float32)
