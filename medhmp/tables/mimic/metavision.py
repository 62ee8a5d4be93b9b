"""From MetaVision rows to events: names, units, bins of ranges, onsets.

MIMIC-III (2008-2012) and MIMIC-IV share these item ids. Frames have ``stay_id``, ``itemid``,
``hours`` since unit admission (ranges: ``start``, ``end``) and ``until``, the last usable hour of
the stay. They become the columns of ``schema.EVENTS``.

The rules are FIDDLE's for MIMIC-III (Tang et al., JAMIA 2020, supplement), with one exception:
FIDDLE takes the whole amount of a range that runs past the window, which tells of the hours after
it. Here only the part inside the window counts.
"""

from typing import Final

import polars as pl

from medhmp.legend import Task
from medhmp.tables.hours import bin_of
from medhmp.tables.readings import as_events, earliest, parsed

GROUPS: Final = {
    220045: "HR",
    **dict.fromkeys((220050, 220179, 224167, 227243, 225309), "SysBP"),
    **dict.fromkeys((220051, 220180, 224643, 227242, 225310), "DiaBP"),
    **dict.fromkeys((220210, 224690), "RR"),
    220277: "SpO2",
    **dict.fromkeys((223761, 223762), "Temperature"),
    **dict.fromkeys((226707, 226730), "Height"),
    **dict.fromkeys((224639, 226512, 226531), "Weight"),
}
"""Chart item -> the variable that it measures. Every other item is a variable of its own."""

ARF_CHART: Final = (220339,)  # PEEP set
ARF_PROCEDURES: Final = (225792, 225794)  # invasive, non-invasive ventilation
SHOCK_INPUTS: Final = (221906, 221289, 221662, 222315, 221749)
"""Norepinephrine, epinephrine, dopamine, vasopressin, phenylephrine."""

OTHER_PRESSORS: Final = (229617, 229630, 229631, 229632, 229709)
"""Epinephrine, phenylephrine and angiotensin II under ids that only MIMIC-IV has.

They are no onset, so that shock means the same in MIMIC-III, but they give one away.
"""

STRICT: Final = (
    *(223849, 224700, 224684, 224685, 224686, 224687, 223835, 227194, 224385),  # ventilator, airway
    *(221653, 221986),  # dobutamine, milrinone
)

FAHRENHEIT, INCH, POUND = 223761, 226707, 226531
"""Items that imply their unit where the unit column is empty."""

_MILLIGRAMS: Final = {"mg": 1.0, "mcg": 1e-3, "grams": 1e3}
_MILLILITERS: Final = {"ml": 1.0, "l": 1e3, "ul": 1e-3}


def task_signals(strict: bool) -> list[int]:
    """Items that give an onset away, removed before features are fitted (paper, Appendix A)."""
    signals = [*ARF_CHART, *ARF_PROCEDURES, *SHOCK_INPUTS, *OTHER_PRESSORS]
    return [*signals, *STRICT] if strict else signals


def reaches(hours: float) -> pl.Expr:
    """True for ranges with a part in the observation window, at or before the last usable hour."""
    last = pl.min_horizontal("end", "until")
    return (last >= 0) & (pl.col("start") < hours) & (pl.col("start") <= last)


def known_share(hours: float) -> pl.Expr:
    """Share of a range that is past by the end of the window and by the last usable hour."""
    last = pl.min_horizontal("until", pl.lit(hours))
    share = (last - pl.col("start")) / (pl.col("end") - pl.col("start"))
    return pl.when(pl.col("end") > last).then(share).otherwise(1.0)


def measured(frame: pl.DataFrame) -> pl.DataFrame:
    """Adds to CHARTEVENTS rows (``valueuom``) their ``group``, ``conversion`` and ``known_unit``.

    ``conversion`` is the unit to convert from ("fahrenheit", "inch", "pound"), else null.
    ``known_unit`` is false for a height, weight or temperature in a unit that is not converted.
    """
    pairs = ["itemid", "valueuom"]  # few are distinct, so each is examined once
    item, unit = pl.col("itemid"), pl.col("valueuom").str.to_lowercase().str.strip_chars()
    fahrenheit = pl.when(unit.is_null()).then(item == FAHRENHEIT).otherwise(unit.str.contains("f"))
    inch = pl.when(unit.is_null()).then(item == INCH).otherwise(unit.str.contains("in"))
    pound = pl.when(unit.is_null()).then(item == POUND).otherwise(unit != "kg")
    temperature, height, weight = (
        pl.col("group") == name for name in ("Temperature", "Height", "Weight")
    )
    wrong = [
        group & ~unit.str.contains(right)
        for group, right in (
            (temperature, r"^(.|deg\.? ?)?[cf]$"),
            (height, "^(cm|in|inch|inches)$"),
            (weight, "^(kg|lb|lbs|pound|pounds)$"),
        )
    ]
    seen = frame.select(pairs).unique()
    told = seen.with_columns(
        group=item.replace_strict(GROUPS, default=None, return_dtype=pl.String)
    ).with_columns(
        conversion=pl.when(temperature & fahrenheit)
        .then(pl.lit("fahrenheit"))
        .when(height & inch)
        .then(pl.lit("inch"))
        .when(weight & pound)
        .then(pl.lit("pound")),
        known_unit=~pl.any_horizontal(wrong).fill_null(False),
    )
    return frame.join(told, on=pairs, how="left", nulls_equal=True, maintain_order="left")


def chart(frame: pl.DataFrame) -> pl.DataFrame:
    """Events of ``measured`` rows (``value``): grouped, in degrees Celsius, cm and kg."""
    x, is_in = pl.col("number"), pl.col("conversion")
    return as_events(
        parsed(frame).with_columns(
            number=pl.when(is_in == "fahrenheit")
            .then((x - 32) / 1.8)
            .when(is_in == "inch")
            .then(x / 0.3937008)
            .when(is_in == "pound")
            .then(x / 2.2046226218)
            .otherwise(x),
            variable=pl.coalesce("group", pl.col("itemid").cast(pl.String)),
        ),
        repeats="indicators",
    )


def points(frame: pl.DataFrame) -> pl.DataFrame:
    """Events of rows with one item and one ``value``: laboratory results, outputs."""
    return as_events(parsed(frame).with_columns(variable=pl.col("itemid").cast(pl.String)), "apart")


def indicators(frame: pl.DataFrame) -> pl.DataFrame:
    """Events of rows that say only that something happened: value 1."""
    one = pl.lit(1.0).alias("number")
    return as_events(frame.with_columns(one, variable=pl.col("itemid").cast(pl.String)), "apart")


def in_bins(frame: pl.DataFrame, hours: float, dt: float) -> pl.DataFrame:
    """Lays each range into bins: a row at the center (``hours``) of every bin it touches.

    A stay's bins are [k dt, (k + 1) dt). A range touches those from max(0, floor(start / dt)) to
    floor(end / dt), up to the last bin of the window.
    """
    end = pl.min_horizontal("end", "until")
    first = bin_of(pl.col("start").clip(lower_bound=0), dt)
    last = bin_of(end, dt).clip(upper_bound=round(hours / dt) - 1)
    return (
        frame.filter(reaches(hours))
        .with_columns(bin=pl.int_ranges(first, last + 1))
        .explode("bin")
        .with_columns(hours=(pl.col("bin") + 0.5) * dt)
    )


def given() -> pl.Expr:
    """True for inputs that were given: not rewritten, with a positive amount."""
    return (
        pl.col("statusdescription").ne_missing("Rewritten")
        & (pl.col("amount") > 0)
        & pl.col("amountuom").ne_missing("/hour")
    )


def rate_of_doses() -> pl.Expr:
    """True for inputs that run at a rate but whose amount is in doses, of an unknown quantity."""
    return _rated() & _unit("amountuom").eq_missing("dose")


def _rated() -> pl.Expr:
    continuous = pl.col("ordercategorydescription").eq_missing("Continuous IV")
    return pl.col("rate").is_not_null() | continuous


def _unit(column: str) -> pl.Expr:
    return pl.col(column).str.to_lowercase().str.strip_chars()


def doses(frame: pl.DataFrame, hours: float) -> pl.DataFrame:
    """Adds ``rate`` (mg or ml per minute), ``amount`` (mg, ml or as charted) and ``dose``.

    Each given input has at most one of them: ``rate`` if it runs at a rate, ``dose`` if it is
    measured in doses, else ``amount``. The rate is the amount over the minutes of the range, not
    the charted one. A continuous infusion charted without a rate (an additive) counts as rated.

    Nurses chart a new rate as a new row, so the rate of a range is known while it runs. Its amount
    is not: of a range that runs past the window, only what was given by then counts.
    """
    unit, rated = _unit("amountuom"), _rated()
    scale = unit.replace_strict({**_MILLIGRAMS, **_MILLILITERS}, default=1.0)
    scale = pl.when(rated & (unit == "pg")).then(1e-9).otherwise(scale)
    amount = pl.col("amount") * scale
    given = amount * known_share(hours)
    minutes = (pl.col("end") - pl.col("start")) * 60
    is_dose = unit.eq_missing("dose")
    return frame.with_columns(
        rate=pl.when(rated & (minutes > 0)).then(amount / minutes),
        amount=pl.when(~rated & ~is_dose).then(given),
        dose=pl.when(~rated & is_dose).then(given),
    )


def inputs(binned: pl.DataFrame) -> pl.DataFrame:
    """Events of binned ``doses``: that the input ran, its route, its amount, rate or dose."""
    item = pl.col("itemid").cast(pl.String)
    route = pl.col("ordercategorydescription")
    parts = [
        indicators(binned),
        as_events(binned.with_columns(variable=item + "_InputRoute", text=route), "indicators"),
    ]
    for column, name in (("amount", "_Amount"), ("rate", "_Rate"), ("dose", "_Dose")):
        named = binned.with_columns(variable=item + name, number=pl.col(column))
        parts.append(as_events(named.filter(pl.col(column).is_not_null()), "sum"))
    return pl.concat(parts)


def onsets(rows: pl.DataFrame, kind: Task, items: tuple[int, ...]) -> pl.DataFrame:
    """(stay_id, kind, hours): each stay's first row of these items; before admission counts."""
    return earliest(rows.filter(pl.col("itemid").is_in(items)), kind)
