"""The hospital's records of the synthetic cohort: patients, admissions, stays, codes, drugs."""

from typing import Any, Final

import numpy as np
import polars as pl

from medhmp.arrays import Ints
from medhmp.synthetic.codes import (
    ACUTE_CODES,
    ACUTE_DRUGS,
    BACKGROUND_CODES,
    BACKGROUND_DRUGS,
    CONDITION_CODES,
    CONDITION_DRUGS,
    LATE_CODES,
)
from medhmp.synthetic.latents import DAY, HOUR, YEAR, Bools, late_rows, written_down
from medhmp.synthetic.readings import Block, look_up, ragged, repeated, times
from medhmp.synthetic.signal import (
    ACUTE_EACH,
    AXES,
    CODES_EACH,
    CODES_TOTAL,
    CONDITIONS,
    DRUGS_EACH,
    DRUGS_TOTAL,
    UNITS,
)

DEATH_AFTER: Final = 0.2
"""Share of patients discharged alive who die within two years after their last admission."""

KINDS: Final = ("EMERGENCY", "URGENT", "ELECTIVE")
SOURCES: Final = (
    "EMERGENCY ROOM ADMIT",
    "TRANSFER FROM HOSP/EXTRAM",
    "CLINIC REFERRAL/PREMATURE",
    "PHYS REFERRAL/NORMAL DELI",
)
DESTINATIONS: Final = (
    "DEAD/EXPIRED",
    "HOME",
    "SNF",
    "HOME HEALTH CARE",
    "REHAB/DISTINCT PART HOSP",
)
INSURANCES: Final = ("Medicare", "Private", "Medicaid", "Government")
LANGUAGES: Final = ("ENGL", "", "SPAN", "RUSS")
RELIGIONS: Final = ("CATHOLIC", "NOT SPECIFIED", "PROTESTANT QUAKER", "JEWISH", "")
MARITAL: Final = ("MARRIED", "SINGLE", "WIDOWED", "DIVORCED", "")
ETHNICITIES: Final = (
    "WHITE",
    "BLACK/AFRICAN AMERICAN",
    "HISPANIC OR LATINO",
    "ASIAN",
    "UNKNOWN/NOT SPECIFIED",
)
COMPLAINTS: Final = (
    "SEPSIS",
    "CHEST PAIN",
    "PNEUMONIA",
    "ALTERED MENTAL STATUS",
    "FALL",
    "DYSPNEA",
)
WARDS: Final = ("50", "52", "33", "57", "7")  # of each unit


def _pick(rng: np.random.Generator, words: tuple[str, ...], n: int, *weights: float) -> pl.Series:
    return look_up(list(words), rng.choice(len(words), n, p=weights or None))


def patient_table(rng: np.random.Generator, block: Block) -> pl.DataFrame:
    """PATIENTS. A birth more than 89 years ago is moved to 300 years before the first admission."""
    patients, admissions = block.patients, block.admissions
    n = len(patients.birth)
    old = patients.first_admitted - patients.birth > 89 * YEAR
    birth = np.where(old, (patients.first_admitted - 300 * YEAR) // DAY * DAY, patients.birth)
    last = np.cumsum(np.bincount(admissions.patient, minlength=n)) - 1
    later = rng.uniform(40, 730, n) * DAY
    inside, after = admissions.died[last], rng.random(n) < DEATH_AFTER
    death = admissions.discharged[last] + np.where(inside, 0, later).astype(np.int64)
    dead = inside | after
    frame = pl.DataFrame(
        {
            "SUBJECT_ID": block.subject_id,
            "GENDER": look_up(["F", "M"], patients.male.astype(np.int64)),
            "DOB": times(birth),
            "DOD": times(death // DAY * DAY),
            "EXPIRE_FLAG": dead.astype(np.int8),
        }
    )
    return frame.with_columns(
        DOD=pl.when(pl.Series(dead)).then("DOD"),
        DOD_HOSP=pl.when(pl.Series(inside)).then("DOD"),
        DOD_SSN=pl.when(pl.Series(after)).then("DOD"),
    )


def admission_table(rng: np.random.Generator, block: Block) -> pl.DataFrame:
    """ADMISSIONS. Deaths are at discharge; facts of a person are the same in all admissions."""
    admissions = block.admissions
    n, people = len(admissions.patient), len(block.patients.birth)
    person = {
        "INSURANCE": _pick(rng, INSURANCES, people, 0.6, 0.28, 0.09, 0.03),
        "LANGUAGE": _pick(rng, LANGUAGES, people, 0.6, 0.25, 0.1, 0.05),
        "RELIGION": _pick(rng, RELIGIONS, people),
        "MARITAL_STATUS": _pick(rng, MARITAL, people, 0.45, 0.25, 0.15, 0.1, 0.05),
        "ETHNICITY": _pick(rng, ETHNICITIES, people, 0.7, 0.1, 0.06, 0.04, 0.1),
    }
    emergency = admissions.kind == 0
    waited = admissions.admitted - rng.integers(1, 10, n) * HOUR
    source = np.where(emergency & (rng.random(n) < 0.8), 0, rng.integers(1, len(SOURCES), n))
    place = np.where(admissions.died, 0, rng.integers(1, len(DESTINATIONS), n))
    died, came = pl.Series(admissions.died), pl.Series(emergency)
    frame = pl.DataFrame(
        {
            **block.of_admissions(np.arange(n)),
            "ADMITTIME": times(admissions.admitted),
            "DISCHTIME": times(admissions.discharged),
            "ADMISSION_TYPE": look_up(list(KINDS), admissions.kind),
            "ADMISSION_LOCATION": look_up(list(SOURCES), source),
            "DISCHARGE_LOCATION": look_up(list(DESTINATIONS), place),
            **{name: column.gather(admissions.patient) for name, column in person.items()},
            "EDREGTIME": times(waited),
            "DIAGNOSIS": _pick(rng, COMPLAINTS, n),
            "HOSPITAL_EXPIRE_FLAG": admissions.died.astype(np.int8),
            "HAS_CHARTEVENTS_DATA": np.ones(n, np.int8),
        }
    )
    return frame.with_columns(
        DEATHTIME=pl.when(died).then("DISCHTIME"),
        EDREGTIME=pl.when(came).then("EDREGTIME"),
        EDOUTTIME=pl.when(came).then("ADMITTIME"),
    )


def stay_table(rng: np.random.Generator, block: Block) -> pl.DataFrame:
    """ICUSTAYS, all from MetaVision."""
    stays = block.stays
    rows = np.arange(len(stays.hours))
    unit = look_up(list(UNITS), stays.unit)
    ward = look_up(list(WARDS), stays.unit)
    return pl.DataFrame(
        {
            **block.of_stays(rows),
            "DBSOURCE": repeated("metavision", len(rows)),
            "FIRST_CAREUNIT": unit,
            "LAST_CAREUNIT": unit,
            "FIRST_WARDID": ward,
            "LAST_WARDID": ward,
            "INTIME": times(stays.intime),
            "OUTTIME": times(block.seconds(rows, stays.hours)),
            "LOS": np.round(stays.hours / 24, 4),
        }
    )


def code_table(rng: np.random.Generator, block: Block) -> pl.DataFrame:
    """DIAGNOSES_ICD: codes of conditions and of high axes, unrelated ones, and ``LATE_CODES``."""
    n = len(block.admissions.patient)
    chronic = [CONDITION_CODES[name].split() for name in CONDITIONS]
    acute = [ACUTE_CODES[name].split() for name in AXES]
    admission, code = _emit(rng, _chronic(block), chronic, CODES_EACH)
    ending, urgent = _emit(rng, written_down(rng, block.stays, n), acute, ACUTE_EACH)
    coded = [late_rows(task, block.patients, block.admissions)[2] for task in LATE_CODES]
    late = [
        rng.choice(codes.split(), len(rows))
        for codes, rows in zip(LATE_CODES.values(), coded, strict=True)
    ]
    first = np.concatenate(coded), np.concatenate(late)
    own = [first, (np.r_[admission, ending], np.r_[code, urgent])]
    rows, codes = _fill(rng, n, own, BACKGROUND_CODES.split(), CODES_TOTAL)
    order = np.lexsort((rng.random(len(rows)), rows))
    _, number = ragged(np.bincount(rows))
    return pl.DataFrame(
        {
            **block.of_admissions(rows[order]),
            "SEQ_NUM": number + 1,
            "ICD9_CODE": pl.Series(codes[order].astype(object), dtype=pl.String),
        }
    )


def _chronic(block: Block) -> Bools:
    """(admissions, 8): the conditions of each admission's patient."""
    has: Bools = block.patients.conditions[block.admissions.patient]
    return has


def _emit(
    rng: np.random.Generator, has: Bools, lists: list[list[str]], each: tuple[int, int]
) -> tuple[Ints, Any]:
    """Draws (admission, word): some words of each condition or axis that an admission has."""
    rows, words = [], []
    for k, vocabulary in enumerate(lists):
        admission = np.flatnonzero(has[:, k])
        which, word = _draw(rng, len(admission), vocabulary, each)
        rows.append(admission[which])
        words.append(word)
    return np.concatenate(rows), np.concatenate(words)


def _draw(
    rng: np.random.Generator, n: int, vocabulary: list[str], each: tuple[int, int]
) -> tuple[Ints, Any]:
    """Draws (row, word): for each of n rows, fewest to most (``each``) distinct words."""
    ranks = np.argsort(rng.random((n, len(vocabulary))), axis=1)
    row, number = ragged(rng.integers(each[0], each[1] + 1, n))
    return row, np.array(vocabulary)[ranks[row, number]]


def _fill(
    rng: np.random.Generator,
    n: int,
    own: list[tuple[Ints, Any]],
    background: list[str],
    total: tuple[int, int],
) -> tuple[Ints, Any]:
    """Adds ``background`` to ``own``, in this order, up to a total drawn for each of n rows.

    Returns (row, word). The total is independent of ``own``, so the number of words carries no
    signal.
    """
    drawn = [*own, _draw(rng, n, background, total)]
    row, word = np.concatenate([r for r, _ in drawn]), np.concatenate([w for _, w in drawn])
    place = np.repeat(np.arange(len(drawn)), [len(r) for r, _ in drawn])
    order = np.lexsort((rng.random(len(row)), place, row))
    most = np.bincount(drawn[-1][0], minlength=n)
    _, number = ragged(np.bincount(row, minlength=n))
    kept = order[number < most[row[order]]]
    return row[kept], word[kept]


def drug_table(rng: np.random.Generator, block: Block) -> pl.DataFrame:
    """PRESCRIPTIONS: drugs of the conditions and unrelated ones; NDC and GSN are made up."""
    n = len(block.admissions.patient)
    chronic = [CONDITION_DRUGS[name].split("|") for name in CONDITIONS]
    acute = [ACUTE_DRUGS[name].split("|") for name in AXES]
    admission, drug = _emit(rng, _chronic(block), chronic, DRUGS_EACH)
    ending, urgent = _emit(rng, written_down(rng, block.stays, n), acute, ACUTE_EACH)
    everything = [d for drugs in (*chronic, *acute) for d in drugs] + BACKGROUND_DRUGS.split("|")
    own = [(np.r_[admission, ending], np.r_[drug, urgent])]
    rows, names = _fill(rng, n, own, BACKGROUND_DRUGS.split("|"), DRUGS_TOTAL)
    number = {name: k + 1 for k, name in enumerate(everything)}
    code = np.array([number[name] for name in names])
    start = block.admissions.admitted[rows] // DAY * DAY
    end = block.admissions.discharged[rows] // DAY * DAY
    column = pl.Series(names.astype(object), dtype=pl.String)
    m = len(rows)
    frame = pl.DataFrame(
        {
            **block.of_admissions(rows),
            "STARTDATE": times(start),
            "ENDDATE": times(end),
            "DRUG_TYPE": repeated("MAIN", m),
            "DRUG": column,
            "DRUG_NAME_GENERIC": column,
            "FORMULARY_DRUG_CD": pl.Series([f"SYN{k:03d}" for k in code]),
            "GSN": pl.Series([f"{k:06d}" for k in code]),
            "NDC": pl.Series([f"{k:011d}" for k in code]),
            "DOSE_VAL_RX": rng.choice(["5", "10", "20", "40", "100"], m),
            "DOSE_UNIT_RX": repeated("mg", m),
            "ROUTE": look_up(["PO", "IV"], rng.integers(0, 2, m)),
        }
    )
    return frame.sort("HADM_ID", maintain_order=True)
