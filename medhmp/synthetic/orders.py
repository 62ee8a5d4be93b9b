"""Orders during the synthetic stays: infusions, procedures, cultures."""

from typing import Final

import numpy as np
import polars as pl

from medhmp.arrays import Floats, Ints
from medhmp.synthetic.items import (
    INPUTS,
    ORGANISMS,
    PROCEDURES,
    SPECIMENS,
    VASOPRESSORS,
    VENTILATION,
    fields,
)
from medhmp.synthetic.latents import DAY
from medhmp.synthetic.readings import (
    Block,
    along,
    look_up,
    ragged,
    repeated,
    some_stays,
    times,
)
from medhmp.synthetic.signal import INPUT_LOADING

REWRITTEN: Final = 0.03
"""Share of input rows that were rewritten, which readers must drop."""
GROWTH: Final = 0.2
"""Share of specimens in which an organism grows."""
UNTIMED: Final = 0.05
"""Share of specimens with a date but no time."""


def input_events(rng: np.random.Generator, block: Block) -> pl.DataFrame:
    """INPUTEVENTS_MV: drips with rates, pushes and boluses without; vasopressors from shock on."""
    frames = [_input(rng, block, row) for row in fields(INPUTS)]
    frame = pl.concat([*frames, *_vasopressors(rng, block)])
    n = len(frame)
    order = rng.integers(10_000, 9_000_000, n)
    return frame.with_columns(
        STORETIME=pl.col("STARTTIME").dt.offset_by("5m"),
        CGID=rng.integers(14_000, 21_500, n),
        ORDERID=order,
        LINKORDERID=order,
        ORDERCOMPONENTTYPEDESCRIPTION=pl.lit("Main order parameter"),
        PATIENTWEIGHT=np.round(rng.normal(82, 15, n).clip(40), 1),
        TOTALAMOUNT=pl.col("AMOUNT"),
        TOTALAMOUNTUOM=pl.col("AMOUNTUOM"),
        ISOPENBAG=np.zeros(n, np.int8),
        CONTINUEINNEXTDEPT=np.zeros(n, np.int8),
        CANCELREASON=np.zeros(n, np.int8),
        ORIGINALAMOUNT=pl.col("AMOUNT"),
        ORIGINALRATE=pl.col("RATE"),
    )


def _input(rng: np.random.Generator, block: Block, row: list[str]) -> pl.DataFrame:
    """Rows of one input, which some stays get a few times."""
    item, _, _, unit, category, group, amount, share, axis = row
    stay = np.flatnonzero(some_stays(rng, block, float(share)))
    which, _ = ragged(1 + rng.poisson(block.stays.hours[stay] / 30))
    stay = stay[which]
    start = rng.uniform(-0.3, 0.95, len(stay)) * block.stays.hours[stay].clip(max=120)
    dripping = category.startswith("Continuous")
    hours = rng.uniform(1, 5, len(stay)) if dripping else np.full(len(stay), 1 / 60)
    spread = rng.normal(0, 0.35, len(stay))
    spread += INPUT_LOADING * (block.stays.level[stay] @ along(axis))
    given = np.ones(len(stay)) if unit == "dose" else float(amount) * np.exp(spread)
    rewritten = rng.random(len(stay)) < REWRITTEN
    frame = _infusion(block, stay, start, hours, int(item), given, unit, dripping)
    status = look_up(["FinishedRunning", "Rewritten"], rewritten.astype(np.int64))
    return frame.with_columns(
        ORDERCATEGORYNAME=pl.lit(group),
        ORDERCATEGORYDESCRIPTION=pl.lit(category),
        STATUSDESCRIPTION=status,
    )


def _infusion(
    block: Block,
    stay: Ints,
    start: Floats,
    hours: Floats,
    item: int,
    amount: Floats,
    unit: str,
    dripping: bool,
) -> pl.DataFrame:
    """Rows of INPUTEVENTS_MV, with a rate if ``dripping``; none runs past the end of its stay."""
    begin = block.seconds(stay, start)
    lasting = np.minimum(hours, np.maximum(block.stays.hours[stay] - start, 1 / 60))
    finish = np.maximum(block.seconds(stay, start + lasting), begin + 60)
    amount = np.round(amount, 2)
    rate = np.round(amount / ((finish - begin) / 3600), 3) if dripping else np.nan
    frame = pl.DataFrame(
        {
            **block.of_stays(stay),
            "STARTTIME": times(begin),
            "ENDTIME": times(finish),
            "ITEMID": np.full(len(stay), item),
            "AMOUNT": amount,
            "AMOUNTUOM": repeated(unit, len(stay)),
            "RATE": np.broadcast_to(rate, len(stay)),
            "RATEUOM": repeated(f"{unit}/hour", len(stay)),
        }
    )
    return frame.with_columns(
        RATE=pl.col("RATE").fill_nan(None),
        RATEUOM=pl.when(pl.lit(dripping)).then("RATEUOM"),
    )


def _vasopressors(rng: np.random.Generator, block: Block) -> list[pl.DataFrame]:
    """One drug per stay in shock, norepinephrine most often, for hours from the onset."""
    drugs = fields(VASOPRESSORS)
    n = len(block.stays.hours)
    chosen = rng.choice(len(drugs), n, p=[0.6, 0.08, 0.1, 0.1, 0.12])
    frames = []
    for k, (item, _, _, unit, amount) in enumerate(drugs):
        stay = np.flatnonzero((chosen == k) & ~np.isnan(block.stays.shock_onset))
        given = float(amount) * np.exp(rng.normal(0, 0.4, len(stay)))
        hours = rng.uniform(2, 20, len(stay))
        onset = block.stays.shock_onset[stay]
        frame = _infusion(block, stay, onset, hours, int(item), given, unit, True)
        columns = {
            "ORDERCATEGORYNAME": pl.lit("01-Drips"),
            "ORDERCATEGORYDESCRIPTION": pl.lit("Continuous Med"),
            "STATUSDESCRIPTION": pl.lit("FinishedRunning"),
        }
        frames.append(frame.with_columns(**columns))
    return frames


def procedure_events(rng: np.random.Generator, block: Block) -> pl.DataFrame:
    """PROCEDUREEVENTS_MV: imaging, cultures, lines; ventilation from respiratory failure on."""
    stays = block.stays
    frames = []
    for item, _, _, lasting, group, share in fields(PROCEDURES):
        stay = np.flatnonzero(some_stays(rng, block, float(share)))
        start = rng.uniform(0, 0.9, len(stay)) * stays.hours[stay]
        hours = rng.uniform(6, 60, len(stay)) if lasting == "1" else np.full(len(stay), 1 / 60)
        frames.append(_procedure(block, stay, start, hours, int(item), group))
    invasive = rng.random(len(stays.hours)) < 0.7
    for (item, *_, group), kind in zip(fields(VENTILATION), (invasive, ~invasive), strict=True):
        stay = np.flatnonzero(kind & ~np.isnan(stays.arf_onset))
        hours = rng.uniform(4, 60, len(stay))
        frames.append(_procedure(block, stay, stays.arf_onset[stay], hours, int(item), group))
    frame = pl.concat(frames)
    n = len(frame)
    order = rng.integers(10_000, 9_000_000, n)
    return frame.with_columns(
        STORETIME=pl.col("ENDTIME"),
        CGID=rng.integers(14_000, 21_500, n),
        ORDERID=order,
        LINKORDERID=order,
        ISOPENBAG=np.zeros(n, np.int8),
        CONTINUEINNEXTDEPT=np.zeros(n, np.int8),
        CANCELREASON=np.zeros(n, np.int8),
        STATUSDESCRIPTION=pl.lit("FinishedRunning"),
    )


def _procedure(
    block: Block, stay: Ints, start: Floats, hours: Floats, item: int, group: str
) -> pl.DataFrame:
    """Rows of PROCEDUREEVENTS_MV, ending with the stay at the latest; VALUE is minutes."""
    begin = block.seconds(stay, start)
    end = np.minimum(start + hours, block.stays.hours[stay])
    finish = np.maximum(block.seconds(stay, end), begin + 60)
    return pl.DataFrame(
        {
            **block.of_stays(stay),
            "STARTTIME": times(begin),
            "ENDTIME": times(finish),
            "ITEMID": np.full(len(stay), item),
            "VALUE": (finish - begin) // 60,
            "VALUEUOM": repeated("min", len(stay)),
            "ORDERCATEGORYNAME": repeated(group, len(stay)),
            "ORDERCATEGORYDESCRIPTION": repeated("Task", len(stay)),
        }
    )


def culture_events(rng: np.random.Generator, block: Block) -> pl.DataFrame:
    """MICROBIOLOGYEVENTS: specimens, some with an organism, a few with a date but no time."""
    specimens, organisms = fields(SPECIMENS), fields(ORGANISMS)
    stay, _ = ragged(rng.poisson(2.0, len(block.stays.hours)))
    n = len(stay)
    seconds = block.seconds(stay, rng.uniform(-4, 60, n))
    chosen = rng.choice(len(specimens), n, p=[float(row[2]) for row in specimens])
    grown = np.where(rng.random(n) < GROWTH, rng.integers(1, len(organisms) + 1, n), 0)
    timed = pl.Series(rng.random(n) > UNTIMED)
    frame = pl.DataFrame(
        {
            **block.of_admissions(block.stays.admission[stay]),
            "CHARTDATE": times(seconds // DAY * DAY),
            "CHARTTIME": times(seconds),
            "SPEC_ITEMID": np.array([int(row[0]) for row in specimens])[chosen],
            "SPEC_TYPE_DESC": look_up([row[1] for row in specimens], chosen),
            "ORG_ITEMID": look_up(["", *(row[0] for row in organisms)], grown),
            "ORG_NAME": look_up(["", *(row[1] for row in organisms)], grown),
        }
    )
    return frame.with_columns(CHARTTIME=pl.when(timed).then("CHARTTIME"))
