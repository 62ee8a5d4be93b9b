"""Repeated readings against a slow version that goes through them one by one."""

from collections import defaultdict
from statistics import median

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from medhmp.features import repeats
from medhmp.features.events import SCHEMA, number_text

EVENTS = {**SCHEMA, "repeats": pl.String()}
KIND = {"hr": "indicators", "rhythm": "indicators", "lab": "apart", "rate": "sum", "drug": "fiddle"}
KIND |= {"vital": "median", "charted": "first"}
NUMBERS = ("sum", "median")

VALUE = st.sampled_from([("n", 1.0), ("n", 2.5), ("t", "SR"), ("t", "AF"), (None, None)])
ROW = st.tuples(
    st.integers(0, 1), st.sampled_from([0.25, 3.0]), st.sampled_from(sorted(KIND)), VALUE
)


def way_of(name, kind):
    """Of FIDDLE's own input, numbers are read apart and what else there is is named."""
    return {"n": "apart"}.get(kind, "named") if KIND[name] == "fiddle" else KIND[name]


def frame(rows):
    return pl.DataFrame(
        [
            (i, t, name, v if kind == "n" else None, v if kind == "t" else None, way_of(name, kind))
            for i, t, name, (kind, v) in rows
        ],
        schema=EVENTS,
        orient="row",
    )


def slow(rows, indicated):
    """The same rules, row by row; a set of (id, t, variable, number, text)."""
    out, sums, seen, places = set(), defaultdict(float), set(), defaultdict(int)
    distinct, vitals, charted = [], defaultdict(list), {}
    for row in rows:
        if KIND[row[2]] == "median":
            vitals[row[:3]].append(row[3][1])
        elif KIND[row[2]] == "first":
            charted.setdefault(row[:3], row[3])
        elif KIND[row[2]] != "sum" and row not in seen:
            seen.add(row)
            distinct.append(row)
        elif KIND[row[2]] == "sum" and row[3][0] == "n":
            sums[row[:3]] += row[3][1]
        elif KIND[row[2]] == "sum":
            sums[row[:3]] += 0
    groups = defaultdict(list)
    for row in distinct:
        groups[row[:3]].append(row)
    for i, t, name, (kind, v) in distinct:
        if name in indicated:
            out.add((i, t, name, 1.0, None))
            if v is not None:
                out.add((i, t, f"{name}: {v if kind == 't' else number_text(v)}", 1.0, None))
            continue
        named = all(way_of(name, of[3][0]) == "named" for of in groups[i, t, name])
        place = 0 if named else places[i, t, name]
        places[i, t, name] += 1
        number, text = (v if kind == "n" else None), (v if kind == "t" else None)
        out.add((i, t + place * 1e-6, name, number, text))
    out |= {(*key, median(values), None) for key, values in vitals.items()}
    for key, (kind, v) in charted.items():
        out.add((*key, v if kind == "n" else None, v if kind == "t" else None))
    return out | {(*key, total, None) for key, total in sums.items()}


@settings(max_examples=80, deadline=None)
@given(st.lists(ROW, max_size=14), st.integers(0, 14))
def test_resolve_equals_a_slow_version_and_what_buckets_find_adds_up(rows, cut):
    rows = [r for r in rows if KIND[r[2]] not in NUMBERS or r[3][0] == "n"]
    buckets = [[r for r in rows if r[0] == i] for i in (0, 1)]
    indicated = repeats.choose_indicators(
        [repeats.find_repeats(frame(bucket)) for bucket in buckets]
    )
    assert indicated == repeats.choose_indicators([repeats.find_repeats(frame(rows))])
    for name in ("hr", "rhythm"):
        own = {r for r in rows if r[2] == name}
        moments = [r[:2] for r in own]
        textual = any(kind == "t" for *_, (kind, _) in own)
        assert (name in indicated) == (textual and len(set(moments)) < len(moments))
    resolved = repeats.resolve(frame(rows), indicated)
    assert list(resolved.columns) == list(SCHEMA)
    repeated = resolved.filter(pl.struct("id", "t", "variable").is_duplicated())
    assert set(repeated["variable"]) <= {"drug"}
    assert repeated["number"].is_null().all()
    assert set(resolved.iter_rows()) == slow(rows, indicated)


def test_values_that_hold_for_the_whole_stay_are_left_alone():
    events = pl.DataFrame(
        [(1, None, "SEX", None, "F", "apart"), (1, None, "AGE", 60.0, None, "apart")],
        schema=EVENTS,
        orient="row",
    )
    assert repeats.resolve(events, []).equals(events.select(list(SCHEMA)))


def test_a_moment_keeps_the_order_of_the_file():
    rows = [(0, 3.0, "lab", ("n", v)) for v in (2.5, 1.0)]
    resolved = repeats.resolve(frame(rows), []).sort("t")
    assert resolved["number"].to_list() == [2.5, 1.0]
    assert resolved["t"].to_list() == [3.0, 3.000001]


def test_the_first_row_of_a_moment_is_kept_and_none_beside_a_median():
    rows = [(0, 3.0, "charted", ("t", "<1")), (0, 3.0, "charted", ("n", 1.0))]
    rows += [(0, 3.0, "vital", ("n", v)) for v in (1.0, 1.0, 5.0)]
    beside = frame([(0, 3.0, "charted", ("t", "?"))]).with_columns(variable=pl.lit("vital"))
    resolved = repeats.resolve(pl.concat([beside, frame(rows)]), [])
    assert sorted(resolved.rows()) == [
        (0, 3.0, "charted", None, "<1"),
        (0, 3.0, "vital", 1.0, None),
    ]
