"""Diagnosis and drug codes of eICU's hospital stays."""

from typing import Final

import polars as pl

from medhmp.tables import schema
from medhmp.tables.csv import INTEGER, TEXT, RawTables
from medhmp.tables.diagnoses import AS_NUMBER, Diagnoses
from medhmp.tables.eicu.onsets import hicl_number
from medhmp.tables.hours import in_hours
from medhmp.tables.readings import distinct_codes, empty, kept

ICD9: Final = r"^(\d{3}|V\d{2})(\.\d{1,2})?$|^E\d{3}(\.\d)?$"
ICD10: Final = r"^[A-Z]\d[0-9A-Z](\.[0-9A-Z]{1,4})?$"
"""Tried after ``ICD9``. Both versions have E and V codes. ICD-9's E codes have three digits before
the dot, ICD-10's two. A V code with at most two digits after the dot is ICD-9's."""


def diagnoses(raw: RawTables, stays: pl.DataFrame, counts: dict[str, int]) -> pl.DataFrame:
    """Distinct diagnoses per hospital stay. A field lists codes of both versions with commas.

    ``counts`` gets the rows without a code, and the codes of neither version. Refuses a column that
    has lost zeros.
    """
    columns = {"patientunitstayid": INTEGER, "icd9code": TEXT}
    written = pl.col("icd9code").str.split(",")
    code = pl.col("icd9code").str.strip_chars().str.to_uppercase()
    is_9, is_10 = code.str.contains(ICD9), code.str.contains(ICD10)
    is_9 |= code.str.contains(AS_NUMBER)  # to be refused
    version = pl.when(is_9).then(pl.lit("9")).when(is_10).then(pl.lit("10"))
    without = unknown = 0
    taken = Diagnoses(counts)
    found = [empty(schema.CODES)]
    scan = raw.scan("DIAGNOSIS", columns) if raw.has("DIAGNOSIS") else iter(())
    for block in scan:
        listed = block.drop_nulls("icd9code")
        without += block.height - listed.height
        codes = _of_stays(listed, stays).with_columns(written).explode("icd9code")
        codes = codes.filter(code.str.len_chars() > 0).with_columns(version=version)
        unknown += codes["version"].null_count()
        known = taken.take(codes.drop_nulls("version"), code, pl.col("version"))
        found.append(distinct_codes(known, "diagnosis", pl.col("code")))
    taken.finish(f"column ICD9CODE of table DIAGNOSIS in '{raw.folder}'")
    counts["codes, blank"] = without
    counts["codes, neither of ICD-9 nor of ICD-10"] = unknown
    return pl.concat(found).unique(maintain_order=True)


def drugs(raw: RawTables, stays: pl.DataFrame, counts: dict[str, int]) -> pl.DataFrame:
    """Distinct drugs ordered per hospital stay, by name, else by HICL number (``hicl:1742``).

    ``counts`` gets the orders that were cancelled, name no drug, or start after discharge.
    """
    columns = {"patientunitstayid": INTEGER, "drugstartoffset": INTEGER}
    columns |= {"drugordercancelled": TEXT, "drugname": TEXT, "drughiclseqno": TEXT}
    text = pl.col("drugname").str.strip_chars().str.to_lowercase()
    number = pl.concat_str(pl.lit("hicl:"), hicl_number().cast(pl.String))
    name = pl.coalesce(pl.when(text.str.len_chars() > 0).then(text), number)
    start = in_hours(pl.col("drugstartoffset"), 60)
    rules = {
        "MEDICATION, cancelled orders": pl.col("drugordercancelled")
        .str.to_lowercase()
        .ne_missing("yes"),
        "MEDICATION, orders that name no drug": name.is_not_null(),
        "MEDICATION, orders from after discharge": (start <= pl.col("until")).fill_null(True),
    }
    found = [empty(schema.CODES)]
    for block in raw.scan("MEDICATION", columns):
        rows = kept(_of_stays(block, stays), rules, counts)
        found.append(distinct_codes(rows, "drug", name))
    return pl.concat(found).unique(maintain_order=True)


def _of_stays(block: pl.DataFrame, stays: pl.DataFrame) -> pl.DataFrame:
    """Rows of known stays. (The scan for events counts the others.)"""
    own = stays.select("subject_id", "hadm_id", "until", patientunitstayid="stay_id")
    return block.join(own, on="patientunitstayid", maintain_order="left")
