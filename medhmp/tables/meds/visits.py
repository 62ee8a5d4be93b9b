"""Visits: hospital admissions and ICU stays, made from the codes that open and close them.

Frames hold whole subjects in the order of the dataset, so rows ascend in time.
"""

import itertools
from collections.abc import Sequence
from datetime import datetime

import polars as pl

from medhmp.tables.readings import count


def visits(
    opens: pl.DataFrame,
    closes: pl.DataFrame,
    key: str,
    named: bool,
    what: str,
    counts: dict[str, int],
) -> pl.DataFrame:
    """``opens``, each visit once, with the ``end`` and ``died`` of its close (null: no close).

    Closes are matched by the column ``key`` if ``named``, else by their order in time. ``counts``
    gets the rows left out, under reasons that begin with ``what``.
    """
    needed = ["time", key] if named else ["time"]
    timed, ends = opens.drop_nulls(needed), closes.drop_nulls(needed)
    once = timed.unique(["subject_id", needed[-1]], keep="first", maintain_order=True)
    found = _by_id(once, ends, key) if named else _by_order(once, ends)
    count(counts, f"{what}, begun without a time or an id", opens.height - timed.height)
    count(counts, f"{what}, begun again", timed.height - once.height)
    count(counts, f"{what}, without an end", found["end"].null_count())
    count(counts, f"{what}, other ends", closes.height - found["end"].count())
    return found


def _by_id(opens: pl.DataFrame, closes: pl.DataFrame, key: str) -> pl.DataFrame:
    by = ["subject_id", key]
    ends = closes.group_by(by).agg(end=pl.col("time").max(), died=pl.col("died").any())
    return opens.join(ends, on=by, how="left", maintain_order="left")


def _by_order(opens: pl.DataFrame, closes: pl.DataFrame) -> pl.DataFrame:
    begun = opens.group_by("subject_id", maintain_order=True).agg("time")
    ended = closes.group_by("subject_id", maintain_order=True).agg("died", ends="time")
    rows = begun.join(ended, on="subject_id", how="left", maintain_order="left")
    found: list[tuple[datetime | None, bool | None]] = []
    for times, ends, died in rows.select("time", "ends", "died").iter_rows():
        own = closing(times, ends or [])
        found += [(None, None) if k is None else (ends[k], died[k]) for k in own]
    schema = {"end": opens.schema["time"], "died": pl.Boolean()}
    return pl.concat([opens, pl.DataFrame(found, schema=schema, orient="row")], how="horizontal")


def closing(opens: Sequence[datetime], closes: Sequence[datetime]) -> list[int | None]:
    """For each of ``opens`` the index of the close that ends it, or None.

    Both ascend, ``opens`` strictly. A visit ends with the first close that is not before it and
    ended no earlier visit. If the next visit begins before that close, the end is unknown: visits
    that overlap cannot be told apart without an id.
    """
    found: list[int | None] = []
    at = 0
    for begun, following in itertools.zip_longest(opens, opens[1:]):
        while at < len(closes) and closes[at] < begun:
            at += 1
        ended = at < len(closes) and (following is None or closes[at] <= following)
        found.append(at if ended else None)
        at += ended
    return found


def of_admissions(
    rows: pl.DataFrame, admissions: pl.DataFrame, whole_days: bool = False
) -> pl.DataFrame:
    """Rows of known admissions, with ``hadm_id``, ``admitted`` and ``discharged``.

    A row is of the admission that its column ``admission`` names. If that is null, it is of the
    latest admission that contains its time: from ``admitted`` to ``discharged``, or to the end of
    that day if ``whole_days``.
    """
    spans = admissions.select("subject_id", "hadm_id", "admitted", "discharged")
    lines = rows.with_row_index("line")
    alone = pl.col("admission").is_null()
    named = lines.filter(~alone).with_columns(hadm_id="admission")
    named = named.join(spans, on=["subject_id", "hadm_id"])
    time, last = pl.col("time"), pl.col("discharged")
    until = time.dt.date() <= last.dt.date() if whole_days else time <= last
    held = (pl.col("admitted") <= time) & until.fill_null(True)
    nameless = (
        lines.filter(alone)
        .join(spans, on="subject_id")
        .filter(held)
        .sort("line", "admitted", "hadm_id")
        .unique("line", keep="last", maintain_order=True)
    )
    both = pl.concat([named, nameless.select(named.columns)])
    return both.sort("line").drop("line")
