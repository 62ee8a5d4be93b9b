"""Features against a slow dense version: FIDDLE's description in loops, numpy and pandas."""

import math
from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medhmp.features.events import SCHEMA, number_text
from medhmp.features.fiddle import fit, transform
from medhmp.features.fitted import FittedTable, Transformed
from medhmp.features.settings import Settings
from medhmp.refusal import Refusal
from tests.fiddle import fiddle_settings

Value = float | str | None
Row = tuple[int, float | None, str, Value]


class InconsistentError(Exception):
    """The slow version's refusal."""


def slow_rows(rows: list[Row], ids: list[int], asked: Settings) -> tuple[list[Row], dict[str, str]]:
    """Pre-filter, value types and renaming."""
    rows = [r for r in rows if r[0] in ids and (r[1] is None or 0 <= r[1] < asked.hours)]
    exempt = [n for n, k in asked.value_types.items() if "categorical" in k.lower()]
    times = Counter(r[:3] for r in rows if r[2] not in exempt)
    if any(times[r[:3]] > 1 and isinstance(r[3], float) for r in rows):
        raise InconsistentError
    types = {}
    for name in sorted({r[2] for r in rows}):
        mine = [r for r in rows if r[2] == name]
        values = [r[3] for r in mine if r[3] is not None]
        numeric = [isinstance(v, float) for v in values]
        if len({r[0] for r in mine}) / len(ids) <= asked.theta_1:
            rows = [r for r in rows if r[2] != name]
        elif name in asked.value_types:
            types[name] = asked.value_types[name]
            if types[name] == "Categorical" and any(numeric):
                rows = [(*r[:3], "_" + text_of(r[3])) if r[2] == name else r for r in rows]
        elif not values:
            types[name] = "None"
        elif all(numeric):
            types[name] = "Numeric"
        else:
            types[name] = "Numeric + Categorical" if any(numeric) else "Categorical"
    coded = [n for n, k in types.items() if "numeric" not in k.lower() and k != "None"]
    times = Counter(r[:3] for r in rows)
    renamed: list[Row] = []
    for i, t, name, value in rows:
        if name in coded and times[i, t, name] > 1:
            renamed.append((i, t, f"{name}:{text_of(value)}", 1.0))
        else:
            renamed.append((i, t, name, value))
    return renamed, types


def text_of(value: Value) -> str:
    return "nan" if value is None else number_text(value) if isinstance(value, float) else value


def slow_static(rows: list[Row], ids: list[int], static: list[str]) -> dict[str, np.ndarray]:
    columns = {}
    for name in static:
        cells = np.full(len(ids), None, dtype=object)
        for i, _, variable, value in rows:
            if variable == name and value is not None:
                cells[ids.index(i)] = value
        columns[f"{name}_value"] = cells
    return columns


def slow_hourly(
    rows: list[Row], ids: list[int], hourly: list[str], frequent: list[str], asked: Settings
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Masks and columns of the hourly table, each (N, L)."""
    bins = math.floor(asked.hours / asked.dt)

    def readings(i: int, k: int, name: str) -> list[Value]:
        low, high = k * asked.dt, (k + 1) * asked.dt
        mine = [r for r in rows if r[0] == i and r[2] == name and low <= r[1] < high]
        return [r[3] for r in sorted(mine, key=lambda r: r[1]) if r[3] is not None]

    def table() -> np.ndarray:
        return np.full((len(ids), bins), None, dtype=object)

    values = {n: table() for n in hourly + frequent}
    masks = {n: np.zeros((len(ids), bins)) for n in frequent}
    deltas = {n: np.zeros((len(ids), bins), dtype=object) for n in frequent}
    statistics = {(n, s): table() for n in frequent for s in asked.statistics}
    how = {"min": min, "max": max, "mean": lambda v: sum(v) / len(v)}
    for (row, i), k in ((a, b) for a in enumerate(ids) for b in range(bins)):
        for name in hourly:
            values[name][row, k] = (readings(i, k, name) or [None])[-1]
        for name in frequent:
            got = [v for v in readings(i, k, name) if isinstance(v, float)]
            before = values[name][row, k - 1] if k else None
            masks[name][row, k] = bool(got)
            values[name][row, k] = got[-1] if got else before
            since = 0.0 if got or before is None else deltas[name][row, k - 1] + 1
            deltas[name][row, k] = float(since)
            for s in asked.statistics:
                statistics[name, s][row, k] = how[s](got) if got else before
    columns = {f"{n}_value": values[n] for n in hourly}
    columns |= {f"{n}_delta_time": deltas[n] for n in frequent}
    columns |= {f"{n}_value": values[n] for n in frequent}
    columns |= {f"{n}_{s}": cells for (n, s), cells in statistics.items()}
    return {f"{n}_mask": mask for n, mask in masks.items()}, columns


def slow_features(columns: dict[str, np.ndarray], asked: Settings) -> dict[str, np.ndarray]:
    """Features of the cells, by name; those of text in mixed real-valued columns come last."""
    features: dict[str, np.ndarray] = {}
    last: dict[str, np.ndarray] = {}
    for name, cells in columns.items():
        is_number = np.vectorize(lambda v: isinstance(v, float), otypes=[bool])(cells)
        numbers = cells[is_number].astype(float)
        texts = sorted({v for v in cells.ravel() if isinstance(v, str)})
        if not asked.discretize:
            if len(numbers):
                features[name] = np.where(is_number, cells, numbers.mean()).astype(float)
            for text in texts:
                key = f"{name}_str:{text}" if len(numbers) else f"{name}:{text}"
                (last if len(numbers) else features)[key] = (cells == text).astype(float)
            continue
        if len(set(numbers)) < 3:
            wanted = sorted([(text_of(v), v) for v in {*numbers.tolist(), *texts}])
            features |= {f"{name}_{text}": (cells == v).astype(float) for text, v in wanted}
            continue
        edges = np.unique(np.percentile(numbers, [0, 20, 40, 60, 80, 100]))
        if asked.ordinal:
            above = {f"{name}>{e}": (is_number, e) for e in edges[:-1].tolist()}
            for key, (there, edge) in above.items():
                one = np.zeros(cells.shape)
                one[there] = cells[there].astype(float) > edge
                features[key] = one
        else:
            cut = pd.cut(numbers, edges, include_lowest=True)
            for code, category in enumerate(cut.categories):
                if (cut.codes == code).any():
                    one = np.zeros(cells.shape)
                    one[is_number] = cut.codes == code
                    features[f"{name}_({category.left}, {category.right}]"] = one
        features |= {f"{name}_{text}": (cells == text).astype(float) for text in texts}
    return features | last


def slow_postfilter(
    features: dict[str, np.ndarray], theta: float
) -> tuple[list[str], dict[str, list[str]]]:
    """Names kept, and aliases. A (N, L) table is hourly, a (N,) one static."""
    varied = []
    for name, f in features.items():
        if f.ndim == 1:
            keep = f.var() > theta * (1 - theta)
        else:
            keep = (f != 0).any(axis=1).mean() > theta and (f != 1).any(axis=1).mean() > theta
        varied += [name] if keep else []
    kept, aliases = [], {}
    for j, name in enumerate(varied):
        for earlier in varied[:j]:
            x, y = features[earlier].ravel(), features[name].ravel()
            if np.ptp(x) == 0 or np.ptp(y) == 0:
                continue
            r = np.corrcoef(x, y)[0, 1]
            if abs(abs(r) - 1) <= 1e-5 + 1e-8:
                aliases.setdefault(earlier, []).append(name if r > 0 else f"~{{{name}}}")
                break
        else:
            kept.append(name)
    return kept, aliases


def slow(rows: list[Row], ids: list[int], asked: Settings) -> dict[str, Any]:
    rows, types = slow_rows(rows, ids, asked)
    static = sorted({r[2] for r in rows if r[1] is None})
    timed = sorted({r[2] for r in rows} - set(static))
    share = {n: sum(r[2] == n for r in rows) / len(ids) for n in timed}
    needed = asked.theta_freq * math.floor(asked.hours / asked.dt)
    frequent = [n for n in timed if types.get(n) == "Numeric" and share[n] >= needed]
    others = [n for n in timed if n not in frequent]
    masks, hourly = slow_hourly(rows, ids, others, frequent, asked)
    S = slow_features(slow_static(rows, ids, static), asked)
    X = masks | slow_features(hourly, asked)
    return {
        "S": S,
        "X": X,
        "S_kept": slow_postfilter(S, asked.static_threshold),
        "X_kept": slow_postfilter(X, asked.theta_2),
    }


def frame(rows: list[Row]) -> pl.DataFrame:
    split = [
        (*r[:3], r[3] if isinstance(r[3], float) else None, r[3] if isinstance(r[3], str) else None)
        for r in rows
    ]
    return pl.DataFrame(split, schema=SCHEMA, orient="row")


def dense(made: Transformed, bins: int, names: tuple[tuple[str, ...], tuple[str, ...]]) -> Any:
    """The static and the hourly table as arrays by feature name."""
    n = len(made.ids)
    S, X = np.zeros((n, len(names[0]))), np.zeros((n, bins, len(names[1])))
    for i in range(n):
        part = slice(made.static_offsets[i], made.static_offsets[i + 1])
        S[i, made.static_ids[part]] = 1 if made.static_values is None else made.static_values[part]
        for k in range(bins):
            first, last = made.hour_offsets[i, k : k + 2].astype(np.int64) + made.offsets[i]
            ids = made.feature_ids[first:last]
            assert (np.diff(ids) > 0).all()
            X[i, k, ids] = 1 if made.values is None else made.values[first:last]
    return dict(zip(names[0], S.T, strict=True)), {
        name: X[:, :, f] for f, name in enumerate(names[1])
    }


def unfiltered(table: FittedTable) -> FittedTable:
    return replace(table, kept=tuple(range(len(table.names_all))))


VALUES: dict[str, list[Value]] = {
    "A": [1.0, 2.5, 4.0, 8.25, 16.0, -3.0],
    "B": [0.0, 1.0],
    "C": ["x", "y", "z"],
    "D": [5.0, 6.5, 7.0, 9.0, "<1", None],
    "E": ["m", "f", None],
    "F": [0.25, 12.0, 40.0, 41.5, None],
    "2": [None, 7.0],
}


def recordings(seed: int, size: int, repeats: bool) -> list[Row]:
    """A small random event table. Its numbers are dyadic, so that sums are exact in any order."""
    random = Random(seed)
    names = sorted(VALUES)
    static = random.sample(names, random.choice([0, 1, 3]))
    drawn = random.choices(names, weights=[random.choice([1, 1, 4]) for _ in names], k=size)
    rows: list[Row] = []
    for name in drawn:
        timeless = name in static and random.random() < 0.7
        time = None if timeless else random.randint(-1, 26) / random.choice([1, 4])
        rows.append((random.randint(1, 6), time, name, random.choice(VALUES[name])))
    if not repeats:  # of one time and variable with a number in it the first value stays
        numeric = {r[:3] for r in rows if isinstance(r[3], float)}
        first = {r[:3]: r for r in reversed(rows)}
        rows = [r for r in rows if r[:3] not in numeric or first[r[:3]] is r]
    return rows


tables = st.builds(
    recordings,
    st.integers(0, 2**32),
    st.one_of(st.integers(0, 5), st.integers(40, 160)),
    st.integers(0, 9).map(lambda x: x == 9),
)
asked = st.builds(
    fiddle_settings,
    hours=st.just(6),
    dt=st.sampled_from([1.0, 2.0, 2.5]),
    theta_1=st.sampled_from([0.0, 0.2, 0.25]),
    theta_2=st.sampled_from([0.0, 0.15, 0.3]),
    theta_2_static=st.sampled_from([None, 0.0]),
    theta_freq=st.sampled_from([0.2, 0.5]),
    statistics=st.sampled_from([("min", "max", "mean"), ("mean",), ()]),
    discretize=st.booleans(),
    ordinal=st.booleans(),
    value_types=st.sampled_from(
        [{}, {"B": "Categorical", "D": "Categorical"}, {"D": "Numeric", "E": "Numeric"}]
    ),
)


@settings(max_examples=50, deadline=None)
@given(tables, asked, st.integers(4, 5))
def test_features_are_those_of_the_slow_version(rows: list[Row], asked: Settings, n: int) -> None:
    ids = list(range(1, n + 1))
    try:
        expected = slow(rows, ids, asked)
    except InconsistentError:
        with pytest.raises(Refusal, match="Inconsistent numerical values recorded"):
            fit([(frame(rows), ids)], asked)
        return
    fitted = fit([(frame(rows), ids)], asked)
    whole = replace(fitted, static=unfiltered(fitted.static), hourly=unfiltered(fitted.hourly))
    assert list(whole.static.names) == list(expected["S"])
    assert list(whole.hourly.names) == list(expected["X"])
    assert (list(fitted.static.names), fitted.static.aliases) == expected["S_kept"]
    assert (list(fitted.hourly.names), fitted.hourly.aliases) == expected["X_kept"]
    for model in (whole, fitted):
        made = transform(frame(rows), ids, model)
        S, X = dense(made, asked.bins, (model.static.names, model.hourly.names))
        for got, table in ((S, expected["S"]), (X, expected["X"])):
            for name in got:
                np.testing.assert_allclose(got[name], table[name], rtol=1e-12, err_msg=name)
