"""Auxiliary targets of training stays, in a table of their own beside the shards.

What came after the prediction time helps to train, and gives a label away. So stays of other splits
have no row: what is not written cannot leak.
"""

from collections.abc import Sequence

import polars as pl

from medhmp.layout import DAYS, TARGET_COLUMNS, TARGET_TABLE, TARGETS
from medhmp.shards.build.index import Index
from medhmp.storage import Entry, Folder
from medhmp.tables.schema import Source


def write_targets(sources: Sequence[Source], index: Index, folder: Folder) -> list[Entry]:
    """Writes the targets of training stays, in the order of the shards."""
    training = index.stays.filter(pl.col("split") == "train")
    order = training.select("source", "subject_id", "stay_id", "id")
    names = ("stay_id", *TARGETS)
    known = [
        order.filter(pl.col("source") == source.name).join(
            _targets_of(source).select(names), on="stay_id", how="left"
        )
        for source in sources
    ]
    rows = pl.concat([frame.cast(dict.fromkeys(TARGETS, pl.Float32)) for frame in known])
    table = rows.sort("id").select(TARGET_COLUMNS.names)
    arrow = table.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(TARGET_COLUMNS)
    return [folder.write_parquet(TARGET_TABLE, arrow)]


def _targets_of(source: Source) -> pl.DataFrame:
    return source.targets() if source.targets else of_times(source)


def of_times(source: Source) -> pl.DataFrame:
    """``stay_id`` and the targets that follow from a source's times, null where unknown.

    A death is known of everybody only where the source follows patients after discharge.
    """
    stays = source.stays.select("subject_id", "hadm_id", "stay_id", "intime")
    ends = source.admissions.select("hadm_id", "discharged", "died")
    deaths = source.patients.select("subject_id", "death")
    rows = stays.join(ends, on="hadm_id", how="left").join(deaths, on="subject_id", how="left")
    stay = pl.col("discharged") - pl.col("intime")
    days = stay.dt.total_seconds() / 86_400
    died = pl.coalesce("died", "death")
    within = {
        f"death_{n}_days": (died <= pl.col("intime") + pl.duration(days=n)).fill_null(False)
        for n in DAYS
    }
    if not source.follows_up:
        within = dict.fromkeys(within, pl.lit(None, pl.Boolean))
    return rows.select(
        "stay_id",
        log_length_of_stay=pl.when(days >= 0).then(days.log1p()),
        saps_i=pl.lit(None, pl.Float32),
        sofa=pl.lit(None, pl.Float32),
        **within,
    )
