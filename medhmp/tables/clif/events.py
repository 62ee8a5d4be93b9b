"""The event tables of CLIF, scanned block by block into EVENTS batches.

A variable is named by its table and category, laboratory results and drugs by their unit, too:
``vitals|heart_rate``, ``labs|lactate|mmol/l``, ``continuous|propofol|mcg/kg/min``. Infusions are
points: each new dose, and 0 when one stops. A laboratory result has the hour of its collection, and
is left out if it became known after the window. A row names a hospitalization, so it is copied to
each of its stays, and the window then picks one, as for MIMIC's laboratory.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import polars as pl
import pyarrow as pa

from medhmp.tables import schema
from medhmp.tables.clif.words import (
    OTHER_PRESSORS,
    PEEP,
    PRESSORS,
    STRICT_ASSESSMENTS,
    STRICT_PRESSORS,
    VENTILATION,
    unit,
    word,
)
from medhmp.tables.csv import NUMBER, TEXT, TIME, RawTables
from medhmp.tables.facts import static_events
from medhmp.tables.hours import hours_between, until_discharge
from medhmp.tables.integrity import CheckedTables
from medhmp.tables.ranges import Ranges
from medhmp.tables.readings import (
    STATIC,
    as_events,
    batches,
    count,
    earliest,
    first_onsets,
    kept,
    known,
    parsed,
    timed,
    within,
)

KEY: Final = "hospitalization_id"
FACTS: Final = (*("GENDER", "FIRST_CAREUNIT", "ADMISSION_TYPE", "LANGUAGE", "ETHNICITY"),)
"""The facts of ``STATIC`` that CLIF has."""

HIDDEN: Final = "___"
"""What de-identification leaves of a result in MIMIC's tables."""

VENTILATOR: Final = (
    *("fio2_set", "lpm_set", "tidal_volume_set", "resp_rate_set", "pressure_control_set"),
    *("pressure_support_set", "flow_rate_set", "peak_inspiratory_pressure_set"),
    *("inspiratory_time_set", "peep_set", "tidal_volume_obs", "resp_rate_obs"),
    *("plateau_pressure_obs", "peak_inspiratory_pressure_obs", "peep_obs", "minute_vent_obs"),
    "mean_airway_pressure_obs",
)
"""Numbers of RESPIRATORY_SUPPORT. A table of 2.1 may lack some."""

TRUTHS: Final = {"true": 1.0, "1": 1.0, "false": 0.0, "0": 0.0}
"""How 2.1 and 3.0 write a truth, in Parquet and in CSV."""

DIALYSIS: Final = (
    *("blood_flow_rate", "pre_filter_replacement_fluid_rate"),
    *("post_filter_replacement_fluid_rate", "dialysate_flow_rate", "ultrafiltration_out"),
)
"""Numbers of CRRT_THERAPY."""


@dataclass
class ClifEvents:
    """Scans the event tables. Signs of onsets are recorded before rows outside the window go.

    A table read twice is counted twice.
    """

    raw: RawTables
    settings: schema.ReaderSettings
    tables: CheckedTables
    names: pl.DataFrame  # subject_id, hadm_id, hospitalization_id
    counts: dict[str, int]
    signs: list[pl.DataFrame] = field(default_factory=list)  # stay_id, kind, hours

    def streams(self) -> dict[str, schema.Stream]:
        """Raw table -> its EVENTS with 0 <= hours < ``settings.hours``, before discharge, without
        task signals. What holds for a whole stay comes first."""
        scans: dict[str, Callable[[str], Iterator[pl.DataFrame]]] = {
            "VITALS": self._vitals,
            "LABS": self._labs,
            "MEDICATION_ADMIN_CONTINUOUS": self._infusions,
            "MEDICATION_ADMIN_INTERMITTENT": self._doses,
            "RESPIRATORY_SUPPORT": self._respiratory,
            "PATIENT_ASSESSMENTS": self._assessments,
            "MICROBIOLOGY_CULTURE": partial(self._microbiology, "culture"),
            "MICROBIOLOGY_NONCULTURE": partial(self._microbiology, "nonculture"),
            "CRRT_THERAPY": self._dialysis,
        }
        return {"static": self._static} | {
            f"CLIF_{table}": partial(self._batches, f"CLIF_{table}", scan)
            for table, scan in scans.items()
            if self.raw.has(f"CLIF_{table}")
        }

    def onsets(self) -> pl.DataFrame:
        """First sign of respiratory failure and of shock per stay in the tables read so far."""
        return first_onsets(self.tables.stays, self.signs)

    def _static(self) -> Iterator[pa.RecordBatch]:
        small, texts = self.tables, {name: STATIC[name] for name in FACTS}
        known = (small.stays, small.patients, small.admissions, texts)
        yield from batches(static_events(*known, self.settings.facts, self.counts), schema.EVENTS)

    def _batches(
        self, table: str, scan: Callable[[str], Iterator[pl.DataFrame]]
    ) -> Iterator[pa.RecordBatch]:
        ranges = Ranges.of(self.settings.variables, "clif", self.settings.names)
        for frame in scan(table):
            yield from batches(ranges.plausible(frame, self.counts), schema.EVENTS)
        self.counts |= self.raw.rows

    def _vitals(self, table: str) -> Iterator[pl.DataFrame]:
        columns = {"recorded_dttm": TIME, "vital_category": TEXT, "vital_value": NUMBER}
        for block in self._of_stays(table, columns, "recorded_dttm"):
            rows = self._named(self._inside(block, table), table, "vitals", "vital_category")
            yield as_events(rows.rename({"vital_value": "number"}), "median")

    def _labs(self, table: str) -> Iterator[pl.DataFrame]:
        columns = {"lab_collect_dttm": TIME, "lab_result_dttm": TIME, "lab_category": TEXT}
        columns |= {"lab_value": TEXT, "reference_unit": TEXT}
        there = self.raw.columns(table)
        columns |= {"lab_value_numeric": NUMBER} if "lab_value_numeric" in there else {}
        columns |= {"lab_specimen_category": TEXT} if "lab_specimen_category" in there else {}
        given = pl.col("lab_value_numeric") if "lab_value_numeric" in columns else pl.lit(None)
        at_last = known(pl.col("result"), self.settings.hours).fill_null(True)
        for block in self._of_stays(table, columns, "lab_collect_dttm"):
            rows = block.with_columns(result=hours_between("lab_result_dttm", "intime"))
            rows = self._inside(rows, table)
            rows = kept(rows, {f"{table}, known after the window": at_last}, self.counts)
            others = [pl.lit(None, pl.String)]
            if "lab_specimen_category" in columns:
                of = word("lab_specimen_category")
                others = [pl.when(of != "plasma_blood").then(of)]
            rows = self._named(rows, table, "labs", "lab_category", *others, unit("reference_unit"))
            told = pl.when(pl.col("lab_value").str.strip_chars() != HIDDEN).then("lab_value")
            rows = parsed(rows.with_columns(told), "lab_value")
            finite = pl.when(given.cast(pl.Float64).is_finite()).then(given)
            rows = rows.with_columns(number=pl.coalesce(finite, "number"))
            text = pl.when(pl.col("number").is_null()).then("text").alias("text")
            yield as_events(rows.with_columns(text), "apart")

    def _infusions(self, table: str) -> Iterator[pl.DataFrame]:
        stopped = word("mar_action_category").eq_missing("stop")
        for block in self._medication(table):
            running = ~stopped & (pl.col("med_dose") > 0).fill_null(True)
            pressor = word("med_category").is_in(PRESSORS)
            self.signs.append(earliest(block.filter(running & pressor), "shock"))
            yield self._given(block, table, "continuous")

    def _doses(self, table: str) -> Iterator[pl.DataFrame]:
        for block in self._medication(table):
            yield self._given(block, table, "intermittent")

    def _medication(self, table: str) -> Iterator[pl.DataFrame]:
        columns = {"admin_dttm": TIME, "med_category": TEXT, "med_dose": NUMBER}
        columns |= {"med_dose_unit": TEXT, "mar_action_category": TEXT}
        given = word("mar_action_category").ne_missing("not_given")
        for block in self._of_stays(table, columns, "admin_dttm"):
            yield kept(block, {f"{table}, not given": given}, self.counts)

    def _given(self, block: pl.DataFrame, table: str, prefix: str) -> pl.DataFrame:
        pressors = (*PRESSORS, *OTHER_PRESSORS, *(STRICT_PRESSORS if self._strict else ()))
        other = ~word("med_category").is_in(pressors).fill_null(False)
        rows = self._without_signals(self._inside(block, table), other)
        named = self._named(rows, table, prefix, "med_category", unit("med_dose_unit"))
        return as_events(named.rename({"med_dose": "number"}), "sum")

    def _respiratory(self, table: str) -> Iterator[pl.DataFrame]:
        there = self.raw.columns(table)
        numbers = tuple(name for name in VENTILATOR if name in there or name == "peep_set")
        columns = {"recorded_dttm": TIME, "device_category": TEXT, "mode_category": TEXT}
        columns |= {"tracheostomy": TEXT} | dict.fromkeys(numbers, NUMBER)
        ventilated = word("device_category").is_in(VENTILATION).fill_null(False)
        sign = ventilated | pl.col("peep_set").is_not_null()
        told = tuple(name for name in numbers if name not in PEEP)
        for block in self._of_stays(table, columns, "recorded_dttm"):
            self.signs.append(earliest(block.filter(sign), "arf"))
            rows = self._inside(block, table)
            if self._strict:
                yield self._cells(self._without_signals(rows, pl.lit(False)), "respiratory")
                continue
            device = pl.when(~ventilated).then("device_category").alias("device_category")
            count(self.counts, "rows that are signals of a task", rows.filter(sign).height)
            rows = rows.with_columns(
                device, word("tracheostomy").replace_strict(TRUTHS, default=None)
            )
            words = ("device_category", "mode_category")
            yield self._cells(rows, "respiratory", (*told, "tracheostomy"), words)

    def _assessments(self, table: str) -> Iterator[pl.DataFrame]:
        columns = {"recorded_dttm": TIME, "assessment_category": TEXT, "numerical_value": NUMBER}
        columns |= {"categorical_value": TEXT, "text_value": TEXT}
        number = pl.col("numerical_value")
        number = pl.when(number.is_finite()).then(number)
        text = pl.when(number.is_null()).then(pl.coalesce("categorical_value", "text_value"))
        trial = word("assessment_category").str.contains(STRICT_ASSESSMENTS).fill_null(False)
        for block in self._of_stays(table, columns, "recorded_dttm"):
            rows = self._inside(block, table)
            rows = self._without_signals(rows, ~trial) if self._strict else rows
            named = self._named(rows, table, "assessments", "assessment_category")
            yield as_events(named.with_columns(number=number, text=text), "indicators")

    def _microbiology(self, prefix: str, table: str) -> Iterator[pl.DataFrame]:
        """That a specimen was taken. What grew in it is known days later."""
        columns = {"collect_dttm": TIME, "fluid_category": TEXT}
        for block in self._of_stays(table, columns, "collect_dttm"):
            named = self._named(self._inside(block, table), table, prefix, "fluid_category")
            yield as_events(named.with_columns(number=pl.lit(1.0)), "apart")

    def _dialysis(self, table: str) -> Iterator[pl.DataFrame]:
        columns = {"recorded_dttm": TIME, "crrt_mode_category": TEXT}
        columns |= dict.fromkeys(DIALYSIS, NUMBER)
        for block in self._of_stays(table, columns, "recorded_dttm"):
            rows = self._inside(block, table)
            yield self._cells(rows, "crrt", DIALYSIS, ("crrt_mode_category",))

    @property
    def _strict(self) -> bool:
        return self.settings.task_signals == "strict"

    def _of_stays(
        self, table: str, columns: dict[str, pa.DataType], at: str
    ) -> Iterator[pl.DataFrame]:
        """Rows of known hospitalizations, copied to each of their stays, with ``hours``."""
        clock = self._clock()
        for block in self.raw.scan(table, {KEY: TEXT} | columns):
            rows = block.with_row_index("line")
            rows = rows.join(clock, on=KEY, maintain_order="left_right")
            without = block.height - rows["line"].n_unique()
            count(self.counts, f"{table}, of no stay that is read", without)
            copies = without + rows.height - block.height
            count(self.counts, f"{table}, copies for other stays", copies)
            yield rows.with_columns(hours=hours_between(at, "intime"))

    def _clock(self) -> pl.DataFrame:
        """Time zero and the last usable hour of each stay."""
        ends = self.names.join(self.tables.admissions.select("hadm_id", "discharged"), on="hadm_id")
        stays = self.tables.stays.select("hadm_id", "stay_id", "intime")
        both = stays.join(ends, on="hadm_id", maintain_order="left")
        return both.select(KEY, "subject_id", "stay_id", "intime", until_discharge())

    def _inside(self, block: pl.DataFrame, table: str) -> pl.DataFrame:
        rows = timed(block, ("hours",), table, self.counts)
        inside = {f"{table}, outside the window": within(self.settings.hours)}
        return kept(rows, inside, self.counts)

    def _without_signals(self, rows: pl.DataFrame, other: pl.Expr) -> pl.DataFrame:
        return kept(rows, {"rows that are signals of a task": other}, self.counts)

    def _named(
        self, rows: pl.DataFrame, table: str, prefix: str, category: str, *more: pl.Expr
    ) -> pl.DataFrame:
        """Adds ``variable``: the prefix, the category, and what else there is, with "|" between."""
        parts = [pl.lit(prefix), word(category), *more]
        named = rows.with_columns(
            variable=pl.concat_str(parts, separator="|", ignore_nulls=True),
            has_category=word(category).is_not_null(),
        )
        return kept(named, {f"{table}, without a category": pl.col("has_category")}, self.counts)

    def _cells(
        self,
        rows: pl.DataFrame,
        prefix: str,
        numbers: tuple[str, ...] = (),
        words: tuple[str, ...] = (),
    ) -> pl.DataFrame:
        """One event per row and column with a value."""
        given = [(name, "number", pl.col(name)) for name in numbers]
        given += [(name, "text", word(name)) for name in words]
        frames = [
            as_events(
                rows.with_columns(
                    value.alias(kind), variable=pl.lit(f"{prefix}|{name}")
                ).drop_nulls(kind),
                "indicators",
            )
            for name, kind, value in given
        ]
        return pl.concat([as_events(rows.clear().with_columns(variable=pl.lit("")), ""), *frames])
