"""The labels of a task of the run's own, matched to stays, admissions or patients.

By identifier a label finds its row at once. By patient and time, as MEDS has labels, it finds the
stay or the admission under way at the prediction time: of a stay the last begun whose admission is
not over. A row has one label: the first in time.

What lies after the prediction time is not the model's to see. ``bins_known`` says how much of each
stay was recorded by then; of an admission that was not over, no code, drug or note was, as they are
recorded at discharge or without a time; of a patient, the admissions over by then were.
"""

from dataclasses import dataclass
from typing import Final

import polars as pl

from medhmp.legend import ROW_ID, Level
from medhmp.run import Cohort
from medhmp.tables.schema import Source
from medhmp.tasks.exclusions import Exclusions
from medhmp.tasks.label_table import SUBJECT, WHEN

BEGINS: Final[dict[Level, str]] = {"stay": "intime", "admission": "admitted"}
"""The column with the beginning of a row."""


@dataclass(frozen=True)
class OwnLabels:
    """The labels of one source's rows."""

    rows: pl.DataFrame  # subject_id, row_id, label, prediction_time, over
    steps: list[tuple[str, int]]  # rule -> labels that it left
    cut: pl.DataFrame  # layout.CUT_COLUMNS


def match(
    level: Level, labels: pl.DataFrame, source: Source, cohort: Cohort, dt: float
) -> OwnLabels:
    """Matches labels to the rows of a source.

    Args:
        level: of the task.
        labels: ``LabelTable.read``, of this source, its identifiers those of ``source``.
        source: its admissions and stays are those of the shards.
        cohort: its ``hours`` are the window that the model reads.
        dt: hours of a bin.
    """
    exclusions = Exclusions("rows of the label table", labels)
    keys = [name for name in labels.columns if name not in ("row", "source")]
    exclusions.keep("with a value in each column", pl.all_horizontal(pl.col(keys).is_not_null()))
    if level == "patient":
        _patients(exclusions, source)
    elif ROW_ID[level] in labels.columns:
        _by_id(exclusions, level, source, cohort)
    else:
        _by_time(exclusions, level, source)
    key = ROW_ID[level]
    exclusions.frame = exclusions.frame.sort(key, WHEN, "row")
    first = pl.col("row") == pl.col("row").first().over(key)
    exclusions.keep(f"the first of its {level}", first)
    frame = exclusions.frame.with_columns(
        over=(pl.col(WHEN) >= pl.col("discharged")).fill_null(False),
        row_id=pl.col(key),
    )
    rows = frame.select("subject_id", "row_id", pl.col("label").cast(pl.Int8), WHEN, "over")
    return OwnLabels(rows, exclusions.steps, _cut(level, rows, source, cohort.hours, dt))


def places(level: Level, source: Source) -> pl.DataFrame:
    """The stays or admissions of a source: their identifiers, ``begun``, ``ended`` (the later of
    the stay's and its admission's) and ``discharged``."""
    admissions = source.admissions.select("subject_id", "hadm_id", "admitted", "discharged")
    if level == "admission":
        return admissions.with_columns(begun="admitted", ended="discharged").drop("admitted")
    stays = source.stays.select("subject_id", "hadm_id", "stay_id", "intime", "outtime")
    ends = admissions.select("hadm_id", "discharged")
    return stays.join(ends, on="hadm_id", how="left").select(
        *("subject_id", "hadm_id", "stay_id", "discharged"),
        begun="intime",
        ended=pl.when(pl.col("discharged").is_not_null()).then(
            pl.max_horizontal("outtime", "discharged")
        ),
    )


def _by_id(exclusions: Exclusions, level: Level, source: Source, cohort: Cohort) -> None:
    """Adds the row's ``subject_id`` and ``discharged``, and the time of prediction where the table
    has none: of a stay the end of the window, of an admission its discharge."""
    key = ROW_ID[level]
    frame = exclusions.frame.drop(SUBJECT, strict=False)
    found = frame.join(places(level, source), on=key, how="left", maintain_order="left")
    if WHEN not in frame.columns:
        end = pl.col("begun") + pl.duration(hours=cohort.hours)
        found = found.with_columns((end if level == "stay" else pl.col("discharged")).alias(WHEN))
    exclusions.frame = found
    exclusions.keep(f"whose {key} is in the shards", pl.col(SUBJECT).is_not_null())
    exclusions.keep(f"predicted after the {level} began", pl.col(WHEN) > pl.col("begun"))


def _by_time(exclusions: Exclusions, level: Level, source: Source) -> None:
    """Adds the identifier and the ``discharged`` of the stay or admission under way."""
    key, frame, of = ROW_ID[level], exclusions.frame, places(level, source)
    known = pl.col(SUBJECT).is_in(of[SUBJECT].implode())
    exclusions.keep(f"of patients with {level}s in the shards", known)
    both = frame.join(of, on=SUBJECT)
    # Days to four decimals, as the built-in tasks count the hours of a stay.
    passed, lasts = (
        ((pl.col(to) - pl.col("begun")) / pl.duration(days=1)).round(4) for to in (WHEN, "ended")
    )
    is_open = pl.col("ended").is_null() | (passed <= lasts)
    under_way = both.filter((pl.col("begun") < pl.col(WHEN)) & is_open)
    last = under_way.sort("begun", key).group_by("row").agg(pl.col(key, "discharged").last())
    exclusions.frame = exclusions.frame.join(last, on="row", how="left", maintain_order="left")
    during = "during a stay, or its admission" if level == "stay" else "during an admission"
    exclusions.keep(f"predicted {during}", pl.col(key).is_not_null())


def _patients(exclusions: Exclusions, source: Source) -> None:
    """Adds ``discharged``, the end of the first admission."""
    people = pl.col(SUBJECT).is_in(source.patients[SUBJECT].implode())
    exclusions.keep("of patients in the shards", people)
    first = source.admissions.group_by(SUBJECT).agg(pl.col("discharged").min())
    exclusions.frame = exclusions.frame.join(first, on=SUBJECT, how="left", maintain_order="left")
    over = pl.col("discharged") <= pl.col(WHEN)
    exclusions.keep("with an admission over by the prediction time", over)


def _cut(level: Level, rows: pl.DataFrame, source: Source, hours: int, dt: float) -> pl.DataFrame:
    """Stays of labelled rows of which fewer bins than the window has ended by the prediction time.

    A bin that was under way is not known: it may hold what came after.
    """
    schema = {"stay_id": pl.Int64, "bins": pl.Int32}
    if level == "patient":
        return pl.DataFrame(schema=schema)
    own = rows.select(pl.col("row_id").alias(ROW_ID[level]), WHEN)
    stays = source.stays.join(own, on=ROW_ID[level])
    # In whole milliseconds: 30 hours over one hour as floats are a little less than 30.
    passed = (pl.col(WHEN) - pl.col("intime")).dt.total_milliseconds()
    bins = pl.when(passed > 0).then(passed // round(dt * 3_600_000)).otherwise(-1)
    known = stays.select("stay_id", bins=bins.clip(-1, round(hours / dt)).cast(pl.Int32))
    return known.filter(pl.col("bins") < round(hours / dt)).sort("stay_id")
