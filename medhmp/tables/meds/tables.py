"""The small tables of a MEDS dataset, collected from blocks of whole subjects."""

import re
from typing import Final

import polars as pl

from medhmp.meds_patterns import FACTS, Meds
from medhmp.storage import Folder
from medhmp.tables import schema
from medhmp.tables.diagnoses import Diagnoses
from medhmp.tables.meds.codebook import Codebook
from medhmp.tables.meds.events import with_values
from medhmp.tables.meds.visits import EARLY, STATED, of_admissions, visits
from medhmp.tables.readings import count, distinct_codes, empty

SMALL: Final = (
    *("hospital_admission", "hospital_discharge", "icu_admission", "icu_discharge"),
    *("birth", "death", "sex", "fact", "diagnosis", "drug"),
)
"""Roles of the codes that make the small tables."""

SCHEMAS: Final = {
    "patients": schema.PATIENTS,
    "admissions": schema.ADMISSIONS,
    "stays": schema.STAYS,
    "codes": schema.CODES,
}

KINDS: Final = ("numeric", "textual", "timed", "untimed")

OWN: Final = "own_"
"""Prefix of the columns of a block that hold facts: ``own_insurance``."""

Of = dict[str, pl.DataFrame]
"""Role -> the rows of its codes, with the groups of their patterns."""


class TableCollector:
    """Collects the small tables block by block.

    ``roles`` counts the rows of each role. ``kinds`` has each variable of an event, and whether it
    ever has a number, a text, a time and no time.
    """

    def __init__(self, meds: Meds, strict: bool, named_admissions: bool, named_stays: bool) -> None:
        self.counts: dict[str, int] = {"DATA": 0}
        self.roles: dict[str, int] = {}
        self.kinds = pl.DataFrame(
            schema={"variable": pl.String(), **dict.fromkeys(KINDS, pl.Boolean())}
        )
        self._meds, self._book = meds, Codebook(meds, strict)
        self._named = {"admissions": named_admissions, "stays": named_stays}
        self._parts = {name: [empty(of)] for name, of in SCHEMAS.items()}
        self._rows = dict.fromkeys(SCHEMAS, 0)
        self._diagnosed = Diagnoses(self.counts)

    def add(self, block: pl.DataFrame) -> None:
        """Adds all rows of some subjects."""
        self.counts["DATA"] += block.height
        book = self._book.of(block)
        known = book.select("code", "role", "variable")
        rows = block.join(known, on="code", maintain_order="left")
        for role, n in rows.group_by("role").len().iter_rows():
            self.roles[role] = self.roles.get(role, 0) + n
        self._add_kinds(rows.filter(pl.col("role") == "event"))
        if STATED not in rows.columns:
            rows = rows.with_columns(pl.lit(None, rows.schema["time"]).alias(STATED))
        small = rows.filter(pl.col("role").is_in(SMALL)).drop("role", "variable")
        small = small.join(book, on="code", maintain_order="left")
        of = {role: small.filter(pl.col("role") == role) for role in SMALL}
        patients = _patients(block, of)
        admissions = self._admissions(of, patients)
        self._add("patients", patients)
        self._add("admissions", admissions)
        self._add("stays", self._stays(of, admissions))
        self._add("codes", self._diagnoses(of["diagnosis"], admissions))
        self._add("codes", self._drugs(of["drug"], admissions))

    def whole(self, folder: Folder) -> dict[str, pl.DataFrame]:
        """Name -> table, once every block has been added.

        Refuses diagnoses that have lost zeros, or whose versions are wrong.
        """
        self._diagnosed.finish(f"column code of the data in '{folder}'")
        return {name: pl.concat(parts) for name, parts in self._parts.items()}

    def variables(self) -> pl.DataFrame:
        """``kinds``, and which of them are ``timeless``: they hold for a whole stay."""
        pattern = re.compile(self._meds.timeless or "(?!)")
        named = [bool(pattern.fullmatch(name)) for name in self.kinds["variable"]]
        timeless = pl.Series(named, dtype=pl.Boolean) & ~self.kinds["timed"]
        return self.kinds.with_columns(timeless=timeless)

    def _add(self, table: str, part: pl.DataFrame) -> None:
        self._parts[table].append(part.select(SCHEMAS[table].names))
        self._rows[table] += part.height

    def _add_kinds(self, events: pl.DataFrame) -> None:
        ever = [pl.col(column).is_not_null() for column in ("number", "text", "time")]
        rules = zip(KINDS, (*ever, pl.col("time").is_null()), strict=True)
        rows = with_values(events).group_by("variable")
        own = rows.agg(**{kind: rule.any() for kind, rule in rules})
        both = pl.concat([self.kinds, own])
        self.kinds = both.group_by("variable").agg(pl.col(KINDS).any())

    def _numbered(self, table: str, key: str, frame: pl.DataFrame) -> pl.DataFrame:
        """Numbers visits consecutively where no column names them."""
        if self._named[table]:
            return frame
        number = pl.int_range(1, pl.len() + 1, dtype=pl.Int64) + self._rows[table]
        return frame.with_columns(number.alias(key))

    def _admissions(self, of: Of, patients: pl.DataFrame) -> pl.DataFrame:
        ends = of["hospital_discharge"].with_columns(died=pl.col("died").is_not_null())
        opens, named = of["hospital_admission"].drop("died"), self._named["admissions"]
        found = visits(opens, ends, "admission", named, "admissions", self.counts)
        found = self._numbered("admissions", "admission", found)
        found = found.join(patients, on="subject_id", how="left", maintain_order="left")
        death, expired = pl.col("death"), _expired()
        if "died" in re.compile(self._meds.hospital_discharge).groupindex:
            expired = pl.coalesce("died", expired)
        own = {c: [pl.col(x) for x in (c, OWN + c) if x in found.columns] for c in FACTS}
        frame = found.with_columns(expired=expired).select(
            "subject_id",
            "expired",
            hadm_id="admission",
            admitted="time",
            discharged="end",
            died=pl.when("expired").then(
                pl.coalesce(pl.when(death >= pl.col("time")).then(death), "end")
            ),
            **{c: pl.coalesce(of) for c, of in own.items()},
        )
        return self._with_facts(frame, of["fact"])

    def _with_facts(self, admissions: pl.DataFrame, facts: pl.DataFrame) -> pl.DataFrame:
        """Adds facts given by codes of their own: to the admission a row names; else to each
        admission of the patient not yet over. The last value wins."""
        last = pl.col(FACTS).drop_nulls().last()
        lines, alone = facts.with_row_index("row"), pl.col("admission").is_null()
        own = of_admissions(lines.filter(~alone), admissions)
        spans = admissions.select("subject_id", "hadm_id", "discharged")
        in_time = (pl.col("time") <= pl.col("discharged")).fill_null(True)
        general = lines.filter(alone).join(spans, on="subject_id", maintain_order="left")
        general = general.filter(in_time)
        used = own.height + general["row"].n_unique()
        count(self.counts, "facts of no admission", facts.height - used)
        for said in (own, general):
            by_admission = said.group_by("hadm_id", maintain_order=True).agg(last)
            admissions = (
                admissions.join(
                    by_admission, on="hadm_id", how="left", maintain_order="left", suffix="_said"
                )
                .with_columns(**{c: pl.coalesce(c, f"{c}_said") for c in FACTS})
                .drop([f"{c}_said" for c in FACTS])
            )
        return admissions

    def _stays(self, of: Of, admissions: pl.DataFrame) -> pl.DataFrame:
        """Stays of known admissions; without a pattern for stays, the admissions themselves."""
        nothing = pl.lit(None, pl.String)
        if not self._meds.icu_admission:
            return admissions.with_columns(
                stay_id="hadm_id",
                intime="admitted",
                outtime="discharged",
                first_careunit=nothing,
                first_ward=nothing,
            )
        opens, closes, named = of["icu_admission"], of["icu_discharge"], self._named["stays"]
        opens = opens.drop("died")
        closes = closes.with_columns(died=pl.lit(False))
        found = visits(opens, closes, "stay", named, "stays", self.counts)
        kept = of_admissions(found, admissions, early=EARLY)
        count(self.counts, "stays, of no admission", found.height - kept.height)
        kept = self._numbered("stays", "stay", kept)
        return kept.with_columns(stay_id="stay", intime="time", outtime="end", first_ward=nothing)

    def _diagnoses(self, rows: pl.DataFrame, admissions: pl.DataFrame) -> pl.DataFrame:
        """Distinct diagnoses per admission."""
        given = pl.col("version").is_in(["9", "10"]) & pl.col("icd").str.contains(r"[^.\s]")
        known = self._diagnosed.take(rows.filter(given), pl.col("icd"), pl.col("version"))
        count(
            self.counts,
            "codes, diagnoses without a version 9 or 10, or a code",
            rows.filter(~given.fill_null(False)).height,
        )
        own = of_admissions(known, admissions, written_at_end=True)
        count(self.counts, "codes, diagnoses of no admission", known.height - own.height)
        return distinct_codes(own, "diagnosis", pl.col("code"))

    def _drugs(self, rows: pl.DataFrame, admissions: pl.DataFrame) -> pl.DataFrame:
        """Distinct drugs per admission. Leaves out those started after discharge."""
        drug = pl.col("drug").str.strip_chars().str.to_lowercase()
        known = rows.filter(drug.str.len_chars() > 0)
        count(self.counts, "codes, drugs without a name", rows.height - known.height)
        own = of_admissions(known, admissions)
        own = own.filter((pl.col("time") <= pl.col("discharged")).fill_null(True))
        reason = "codes, drugs of no admission, or started after it"
        count(self.counts, reason, known.height - own.height)
        return distinct_codes(own, "drug", drug)


def _patients(block: pl.DataFrame, of: Of) -> pl.DataFrame:
    """Every subject with a row. The first of several births or deaths counts."""
    found = block.select("subject_id").unique(maintain_order=True)
    known = (
        of["sex"].group_by("subject_id").agg(pl.col("sex").drop_nulls().first()),
        of["birth"].group_by("subject_id").agg(birth=pl.col("time").min()),
        of["death"].group_by("subject_id").agg(death=pl.col("time").min()),
    )
    for frame in known:
        found = found.join(frame, on="subject_id", how="left", maintain_order="left")
    return found


def _expired() -> pl.Expr:
    """True for a patient's death in an admission, by their times.

    False if the patient is not known dead, or was admitted again later; null if the end is unknown
    and the death may be in it. A death known by its day alone has its midnight.
    """
    death, begun, ended = (pl.col(name) for name in ("death", "time", "end"))
    is_day = death == death.dt.truncate("1d")
    since = pl.when(is_day).then(begun.dt.truncate("1d")).otherwise(begun)
    until = pl.coalesce(ended, begun.shift(-1).over("subject_id"))
    unknown = ended.is_null() & (death >= since) & (death <= until).fill_null(True)
    return pl.when(~unknown.fill_null(False)).then(
        ((since <= death) & (death <= ended)).fill_null(False)
    )
