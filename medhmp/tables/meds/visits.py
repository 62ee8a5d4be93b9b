"""Visits: hospital admissions and ICU stays, made from the codes that open and close them.

Frames hold whole subjects in the order of the dataset, so rows ascend in time.
"""

import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from medhmp.tables.readings import count

STATED: Final = "stated_end"
"""Column of the rows that open a visit: the end that the row itself states, or null."""

EARLY: Final = timedelta(hours=1)
"""Stays, and signs that belong to them, may begin so long before their admission does: the unit's
clerk is often quicker than the hospital's."""


def visits(
    opens: pl.DataFrame,
    closes: pl.DataFrame,
    key: str,
    named: bool,
    what: str,
    counts: dict[str, int],
) -> pl.DataFrame:
    """``opens``, each visit once, with the ``end`` and ``died`` of its close.

    Closes are matched by the column ``key`` if ``named``, else by their order in time. A visit
    without a close ends when its row says (``STATED``), and ``died`` is null. An end before the day
    of its beginning becomes null. ``counts`` gets what is left out.
    """
    needed = ["time", key] if named else ["time"]
    timed, ends = opens.drop_nulls(needed), closes.drop_nulls(needed)
    once = timed.unique(["subject_id", needed[-1]], keep="first", maintain_order=True)
    found = _by_id(once, ends, key) if named else _by_order(once, ends)
    used = found["end"].count()
    found = found.with_columns(pl.coalesce("end", STATED).alias("end"))
    right = (pl.col("end") >= pl.col("time").dt.truncate("1d")).fill_null(True)
    count(counts, f"{what}, begun without a time or an id", opens.height - timed.height)
    count(counts, f"{what}, begun again", timed.height - once.height)
    count(counts, f"times, ends of {what} that belong to none", closes.height - used)
    count(counts, f"times, ends of {what} before they begin", found.filter(~right).height)
    return found.with_columns(pl.when(right).then("end").alias("end")).drop(STATED)


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
    rows: pl.DataFrame,
    admissions: pl.DataFrame,
    *,
    early: timedelta = timedelta(),
    whole_days: bool = False,
    written_at_end: bool = False,
) -> pl.DataFrame:
    """Rows of known admissions, with ``hadm_id``, ``admitted`` and ``discharged``.

    A row is of the admission that its column ``admission`` names. If that is null, it is of the
    latest admission that contains its time, else of the next one if that begins within ``early``.

    Args:
        rows: with ``subject_id``, ``time`` and ``admission``.
        admissions: the columns of ADMISSIONS.
        early: a row may be so long before its admission.
        whole_days: an admission has the rest of its last day, too.
        written_at_end: a row is written when its admission ends. So if one has ended at that time
            and the next has begun, it is of the one that has ended.
    """
    spans = admissions.select("subject_id", "hadm_id", "admitted", "discharged")
    lines = rows.with_row_index("line")
    alone = pl.col("admission").is_null()
    named = lines.filter(~alone).with_columns(hadm_id="admission")
    named = named.join(spans, on=["subject_id", "hadm_id"])
    time, first, last = pl.col("time"), pl.col("admitted"), pl.col("discharged")
    until = time.dt.date() <= last.dt.date() if whole_days else time <= last
    held = (first - early <= time) & until.fill_null(True)
    over = (last <= time).fill_null(False) & written_at_end
    nameless = (
        lines.filter(alone)
        .join(spans, on="subject_id")
        .filter(held)
        .sort("line", first <= time, over, -(time - first).abs(), "hadm_id")
        .unique("line", keep="last", maintain_order=True)
    )
    both = pl.concat([named, nameless.select(named.columns)])
    return both.sort("line").drop("line")
