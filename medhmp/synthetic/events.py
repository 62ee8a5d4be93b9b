"""Tables of readings charted during the synthetic stays."""

from typing import Final

import numpy as np
import polars as pl

from medhmp.arrays import Floats, Ints
from medhmp.synthetic.items import (
    DATES,
    ONCE_ITEMS,
    OUTPUTS,
    TEXT_ITEMS,
    TEXT_LABS,
    TEXT_VALUES,
    fields,
)
from medhmp.synthetic.latents import DAY, HOUR
from medhmp.synthetic.readings import (
    Block,
    along,
    as_text,
    chart_catalog,
    lab_catalog,
    look_up,
    numbers,
    ragged,
    read,
    repeated,
    schedule,
    some_stays,
    times,
)
from medhmp.synthetic.signal import (
    AXES,
    CHART_FROM,
    CUTS,
    LAB_FROM,
    OUTPUT_LOADING,
    TEXT_HOURS,
    TEXT_LOADING,
)

NO_VALUE: Final = 0.004
"""Share of chart rows without a value."""
MARKED_ERROR: Final = 0.002
"""Share of chart rows with ERROR 1."""
UNLINKED_LAB: Final = 0.01
"""Share of lab rows without HADM_ID, as outpatients have."""
BELOW_RANGE: Final = 0.02
"""Share of troponins reported as text, below the range of the assay."""


def chart_events(rng: np.random.Generator, block: Block) -> pl.DataFrame:
    """CHARTEVENTS: numeric and text items, weight and height, PEEP under ventilation."""
    frames = [
        _chart_numbers(rng, block),
        _chart_texts(rng, block),
        _chart_once(rng, block),
        _chart_peep(rng, block),
    ]
    frame = pl.concat(frames)
    n = len(frame)
    blank = rng.random(n) < NO_VALUE
    return frame.with_columns(
        VALUE=pl.when(pl.Series(~blank)).then("VALUE"),
        VALUENUM=pl.when(pl.Series(~blank)).then("VALUENUM"),
        STORETIME=pl.col("CHARTTIME").dt.offset_by("10m"),
        CGID=rng.integers(14_000, 21_500, n),
        WARNING=np.zeros(n, np.int8),
        ERROR=(rng.random(n) < MARKED_ERROR).astype(np.int8),
    )


def _chart_numbers(rng: np.random.Generator, block: Block) -> pl.DataFrame:
    catalog, charted = chart_catalog()
    rows, interval = charted[block.stays.unit], catalog.interval / block.density
    readings = read(rng, block.stays, rows, catalog.loadings, interval, CHART_FROM)
    values = numbers(catalog, readings)
    units = look_up(catalog.units, readings.item)
    return _chart(block, readings.stay, readings.hours, catalog.ids[readings.item], values, units)


def _chart(
    block: Block, stay: Ints, hours: Floats, items: Ints, values: Floats, units: pl.Series
) -> pl.DataFrame:
    """Rows of CHARTEVENTS with a number."""
    return pl.DataFrame(
        {
            **block.of_stays(stay),
            "ITEMID": np.broadcast_to(items, stay.shape),
            "CHARTTIME": times(block.seconds(stay, hours)),
            "VALUE": as_text(values),
            "VALUENUM": values,
            "VALUEUOM": units,
        }
    )


def _chart_texts(rng: np.random.Generator, block: Block) -> pl.DataFrame:
    """Rows of CHARTEVENTS with a text: the latent value, cut into the item's values."""
    items = fields(TEXT_ITEMS)
    loadings = np.stack([TEXT_LOADING * along(row[3]) for row in items])
    rows = np.broadcast_to(np.arange(len(items)), (len(block.stays.hours), len(items)))
    interval = np.array([TEXT_HOURS] * len(items)) / block.density
    readings = read(rng, block.stays, rows, loadings, interval, CHART_FROM)
    values = [TEXT_VALUES[int(row[0])] for row in items]
    widest = len(CUTS) + 1
    flat = [v[min(k, len(v) - 1)] for v in values for k in range(widest)]
    chosen = readings.item * widest + np.searchsorted(CUTS, readings.latent)
    nothing = np.full(len(readings.stay), np.nan)
    ids = np.array([int(row[0]) for row in items])
    unit = repeated("", len(nothing))
    frame = _chart(block, readings.stay, readings.hours, ids[readings.item], nothing, unit)
    return frame.with_columns(VALUE=look_up(flat, chosen), VALUENUM=pl.lit(None, pl.Float64))


def _chart_once(rng: np.random.Generator, block: Block) -> pl.DataFrame:
    """Height, weight and a repeated lab result of most stays, soon after admission."""
    n = len(block.stays.hours)
    frames = []
    creatinine = ["220615", "Creatinine", "Labs", "", "1.4", "0.4", "1"]
    for item, _, _, unit, mean, sd, decimals in [*fields(ONCE_ITEMS), creatinine]:
        stay = np.flatnonzero(rng.random(n) < 0.7)
        value = np.abs(rng.normal(float(mean), float(sd), len(stay))).round(int(decimals))
        hours = rng.uniform(0.1, 6, len(stay))
        units = repeated(unit, len(stay))
        frames.append(_chart(block, stay, hours, np.array(int(item)), value, units))
    return pl.concat(frames)


def _chart_peep(rng: np.random.Generator, block: Block) -> pl.DataFrame:
    """PEEP set, every four hours from the onset of respiratory failure."""
    stays = block.stays
    room = np.nan_to_num((stays.hours - stays.arf_onset) / 4, nan=-1.0)
    failing, turn = ragged(np.clip(np.ceil(room), 0, 8).astype(np.int64))
    hours = stays.arf_onset[failing] + 4 * turn
    value = rng.choice([5.0, 5.0, 8.0, 10.0], len(failing))
    units = repeated("cmH2O", len(failing))
    return _chart(block, failing, hours, np.array(220339), value, units)


def lab_events(rng: np.random.Generator, block: Block) -> pl.DataFrame:
    """LABEVENTS: numbers, urine descriptions, and some troponins below the range of the assay."""
    catalog = lab_catalog()
    stays = block.stays
    rows = np.broadcast_to(np.arange(len(catalog.ids)), (len(stays.hours), len(catalog.ids)))
    interval = catalog.interval / block.density
    readings = read(rng, stays, rows, catalog.loadings, interval, LAB_FROM)
    values = numbers(catalog, readings)
    below = (catalog.ids[readings.item] == 51003) & (rng.random(len(values)) < BELOW_RANGE)
    frame = pl.DataFrame(
        {
            **block.of_admissions(stays.admission[readings.stay]),
            "ITEMID": catalog.ids[readings.item],
            "CHARTTIME": times(block.seconds(readings.stay, readings.hours)),
            "VALUE": as_text(values),
            "VALUENUM": values,
            "VALUEUOM": look_up(catalog.units, readings.item),
            "FLAG": look_up(["", "abnormal"], (readings.latent > 1.3).astype(np.int64)),
        }
    ).with_columns(
        VALUE=pl.when(pl.Series(below)).then(pl.lit("<0.01")).otherwise("VALUE"),
        VALUENUM=pl.when(pl.Series(~below)).then("VALUENUM"),
    )
    frame = pl.concat([frame, _urine(rng, block)], how="diagonal")
    linked = pl.Series(rng.random(len(frame)) > UNLINKED_LAB)
    return frame.with_columns(HADM_ID=pl.when(linked).then("HADM_ID"))


def _urine(rng: np.random.Generator, block: Block) -> pl.DataFrame:
    """Text-valued labs, once in some stays."""
    frames = []
    for item, _, _, _, _, values in fields(TEXT_LABS):
        stay = np.flatnonzero(rng.random(len(block.stays.hours)) < 0.4)
        hours = rng.uniform(0, 1, len(stay)) * block.stays.hours[stay]
        words = values.split(";")
        columns = {
            **block.of_admissions(block.stays.admission[stay]),
            "ITEMID": np.full(len(stay), int(item)),
            "CHARTTIME": times(block.seconds(stay, hours)),
            "VALUE": look_up(words, rng.integers(0, len(words), len(stay))),
        }
        frames.append(pl.DataFrame(columns))
    return pl.concat(frames)


def output_events(rng: np.random.Generator, block: Block) -> pl.DataFrame:
    """OUTPUTEVENTS: drains, and urine, which falls as the kidneys fail."""
    frames = []
    for item, _, _, unit, interval, volume, share in fields(OUTPUTS):
        stay = np.flatnonzero(some_stays(rng, block, float(share)))
        every = np.tile([0.9 * float(interval), 1.1 * float(interval)], (len(stay), 1, 1))
        pair, hours = schedule(rng, block.stays.hours[stay], every, 0.0)
        failing = block.stays.level[stay[pair], AXES.index("renal")]
        spread = rng.normal(0, 0.4, len(pair)) - OUTPUT_LOADING * failing
        columns = {
            **block.of_stays(stay[pair]),
            "CHARTTIME": times(block.seconds(stay[pair], hours)),
            "ITEMID": np.full(len(pair), int(item)),
            "VALUE": np.rint(float(volume) * np.exp(spread)).astype(np.int64),
            "VALUEUOM": repeated(unit, len(pair)),
        }
        frames.append(pl.DataFrame(columns))
    frame = pl.concat(frames)
    caregiver = rng.integers(14_000, 21_500, len(frame))
    return frame.with_columns(STORETIME=pl.col("CHARTTIME").dt.offset_by("20m"), CGID=caregiver)


def date_events(rng: np.random.Generator, block: Block) -> pl.DataFrame:
    """DATETIMEEVENTS: dates when lines were placed or dressed, charted every shift."""
    frames = []
    for item, _, _, unit in fields(DATES):
        stay = np.flatnonzero(some_stays(rng, block, 0.3))
        every = np.tile([8.0, 12.0], (len(stay), 1, 1))
        pair, hours = schedule(rng, block.stays.hours[stay], every, 0.0)
        placed = block.stays.intime[stay] - rng.integers(0, 3 * DAY // HOUR, len(stay)) * HOUR
        placed = placed // DAY * DAY if unit == "Date" else placed // HOUR * HOUR
        columns = {
            **block.of_stays(stay[pair]),
            "ITEMID": np.full(len(pair), int(item)),
            "CHARTTIME": times(block.seconds(stay[pair], hours)),
            "VALUE": times(placed[pair]),
            "VALUEUOM": repeated(unit, len(pair)),
        }
        frames.append(pl.DataFrame(columns))
    frame = pl.concat(frames)
    caregiver = rng.integers(14_000, 21_500, len(frame))
    zeros = np.zeros(len(frame), np.int8)
    return frame.with_columns(
        STORETIME=pl.col("CHARTTIME"), CGID=caregiver, WARNING=zeros, ERROR=zeros
    )
