"""Signs in eICU that respiratory failure or shock has begun, and signals that give either away.

Onsets are FIDDLE's for eICU (Tang et al., JAMIA 2020, supplement). A pressor's name counts anywhere
in a drug's name, in any case and by any route: a nasal spray of phenylephrine counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import polars as pl
import pyarrow as pa

from medhmp.legend import Task
from medhmp.tables.csv import INTEGER, TEXT, RawTables

PRESSORS: Final = (
    *("norepinephrine", "levophed", "epinephrine", "dopamine", "vasopressin", "phenylephrine"),
    *("neo-synephrine", "neosynephrine"),
)
PEEP: Final = ("PEEP", "PEEP/CPAP")

_OTHER_PRESSORS: Final = ("adrenalin", "pitressin", "vasostrict", "vasopressor")
_VENTILATION: Final = ("peep", "mechanical ventilation", "non-invasive ventilation", "vent on/off")
"""They are no onset, unlike ``PRESSORS`` and ``PEEP``, but they give one away."""

PRESSOR_HICL: Final = (
    *(37410, 36346, 2051, 37407, 39089, 36437, 34361, 2050, 2060, 2059),
    *(37028, 35517, 35587, 2087, 38884, 38883, 2839),
)
"""HICL numbers of norepinephrine, epinephrine, dopamine, phenylephrine and vasopressin, for orders
without a name. They are no onset, either, but they give one away."""

_STRICT: Final = (
    *("ventilat", "intubat", "endotracheal", "cpap", "fio2", "tidal"),
    *("dobutamine", "milrinone"),
)
STRICT_HICL: Final = (8777, 40, 9744)  # dobutamine, milrinone
STRICT_TABLES: Final = ("RESPIRATORYCARE", "RESPIRATORYCHARTING")


@dataclass(frozen=True)
class Sign:
    """The rows of a table that tell of an onset."""

    kind: Task  # arf or shock
    columns: Mapping[str, pa.DataType]  # columns needed beside those of the table's readings
    minute: pl.Expr  # minute of the onset that a row tells of; null: none


def _care() -> pl.Expr:
    """The minute of a charted PEEP limit, or of the start of ventilation if that is earlier.

    A start of zero means unknown. Ventilation starts later than the row itself are ignored.
    """
    charted, begun = pl.col("respcarestatusoffset"), pl.col("ventstartoffset")
    limit = pl.when(pl.col("peeplimit").is_not_null()).then(charted)
    vent = pl.when((begun != 0) & (begun <= charted)).then(begun)
    return pl.min_horizontal(limit, vent)


def _pressor(column: str) -> pl.Expr:
    return pl.col(column).str.contains_any(list(PRESSORS), ascii_case_insensitive=True)


def _infused() -> pl.Expr:
    rate = pl.col("drugrate").str.strip_chars().cast(pl.Float64, strict=False)
    running = (rate > 0) & rate.is_finite()
    return pl.when(_pressor("drugname") & running).then("infusionoffset")


SIGNS: Final = {
    "RESPIRATORYCHARTING": Sign(
        "arf", {}, pl.when(pl.col("respchartvaluelabel").is_in(PEEP)).then("respchartoffset")
    ),
    "RESPIRATORYCARE": Sign("arf", {"peeplimit": TEXT, "ventstartoffset": INTEGER}, _care()),
    "INFUSIONDRUG": Sign("shock", {}, _infused()),
    "MEDICATION": Sign("shock", {}, pl.when(_pressor("drugname")).then("drugstartoffset")),
}
"""Table -> its sign."""


def unrecorded(raw: RawTables, stays: pl.DataFrame) -> dict[Task, pl.DataFrame]:
    """Kind of onset -> ``stay_id`` of the stays in hospitals that never fill its tables."""
    own = stays.select("stay_id", "hospitalid", "patientunitstayid")
    recording: dict[Task, list[pl.DataFrame]] = {"arf": [], "shock": []}
    for table, sign in SIGNS.items():
        for block in raw.scan(table, {"patientunitstayid": INTEGER}):
            found = own.join(block, on="patientunitstayid", how="semi")
            recording[sign.kind].append(found.select("hospitalid").unique())
    return {
        kind: own.join(pl.concat(found), on="hospitalid", how="anti").select("stay_id")
        for kind, found in recording.items()
    }


def gives_away(table: str, strict: bool, hicl: bool) -> pl.Expr:
    """True for rows (``variable``) that give an onset away: they are removed before the fit.

    ``hicl``: the table has the column ``drughiclseqno``.
    """
    if strict and table in STRICT_TABLES:
        return pl.lit(True)
    names = [*PRESSORS, *_OTHER_PRESSORS, *_VENTILATION, *(_STRICT if strict else ())]
    told = pl.col("variable").str.contains_any(names, ascii_case_insensitive=True)
    numbers = PRESSOR_HICL + (STRICT_HICL if strict else ())
    return told | hicl_number().is_in(numbers).fill_null(False) if hicl else told


def hicl_number() -> pl.Expr:
    """The integer in ``drughiclseqno``; some copies of the tables write 2051.0 for 2051."""
    number = pl.col("drughiclseqno").str.strip_chars().cast(pl.Float64, strict=False)
    return number.cast(pl.Int64, strict=False)
