"""The reader of FIDDLE's input: against a slow reading, on broken input, on FIDDLE's outputs."""

import csv
import gzip
import io
import json
import math
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.featurize import featurize
from medhmp.features import fiddle as features
from medhmp.features import repeats
from medhmp.features.settings import settings_of
from medhmp.legend import LEVELS
from medhmp.refusal import Refusal
from medhmp.run import (
    Cohort,
    Features,
    Run,
    Shards,
    Splits,
    Tables,
)
from medhmp.shards.build.index import Index
from medhmp.shards.build.labels import write_labels
from medhmp.shards.csr import Csr
from medhmp.shards.manifest import open_shards
from medhmp.storage import Folder
from medhmp.tables import fiddle, schema
from medhmp.tables.sources import READERS

GOLDEN = Path(__file__).parents[2] / "golden" / "fiddle"
CASES = ("c1_discretize", "c3_ordinal", "c5_dt2_no_frequent", "c8_icd9_static")
SECRET = "4x7"
"""Stands where a number belongs; a refusal must not repeat what may be a patient's."""

SPELLED = st.text("0123456789+-.eE_ nNaAiIfFtTyY٣", max_size=6)
VALUE = st.sampled_from(["", "5", " 5 ", "1_0", "1e3", "inf", "nan", "NA", "None", "<1", "s,t"])
ROW = st.tuples(
    st.sampled_from([1, 2, 3, 9, None]),
    st.sampled_from([None, -0.5, 0.0, 1.25, 3.9999, 4.0]),
    st.sampled_from(["HR", "LAB", "ICD9_CODE", "FIRST_WARDID", ""]),
    VALUE,
)


def text_of(rows, header="ID,t,variable_name,variable_value"):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header.split(","))
    writer.writerows(rows)
    return text.getvalue().encode()


def write(folder, rows, ids=(1, 2, 3), name="data.csv", header="ID,t,variable_name,variable_value"):
    folder.mkdir(exist_ok=True)
    for file, data in (
        (name, text_of(rows, header)),
        ("pop.csv", text_of([[i] for i in ids], "ID")),
    ):
        (folder / file).write_bytes(gzip.compress(data) if file.endswith("gz") else data)
    return str(folder)


def read(folder, **sections):
    return fiddle.read("fiddle", str(folder), Run(quiet=True, **sections))


def events_of(source):
    batches = list(source.events())
    assert all(batch.schema.equals(schema.EVENTS) for batch in batches)
    return pl.concat([pl.from_arrow(b) for b in (schema.EVENTS.empty_table(), *batches)])


def number_of(text):
    try:
        return float(text) if math.isfinite(float(text)) else None
    except ValueError:
        return None


def slowly(rows, hours=4):
    """The events that the rows tell of, row by row."""
    for i, t, variable, value in rows:
        if i not in (1, 2, 3) or not variable or not (t is None or 0 <= t < hours):
            continue
        number = None if variable == "ICD9_CODE" else number_of(value)
        text = value if value and number is None else None
        way = "named" if number is None or variable == "FIRST_WARDID" else "apart"
        yield i, i, t, variable, number, text, way


@settings(max_examples=100, deadline=None)
@given(st.lists(SPELLED, max_size=5))
def test_a_number_is_what_python_takes_for_one(texts):
    assert fiddle.numbers_in(pl.Series(texts, dtype=pl.String)).to_list() == [
        *map(number_of, texts)
    ]


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=30), zipped=st.booleans())
def test_the_events_are_those_of_a_slow_reading(tmp_path_factory, rows, zipped):
    folder = tmp_path_factory.mktemp("raw")
    name = "Input_Data.csv.gz" if zipped else "data.csv"
    source = read(write(folder, rows, name=name), cohort=Cohort(hours=4))
    assert events_of(source).rows() == list(slowly(rows))
    assert events_of(source).height == len(list(slowly(rows)))  # and again from the beginning
    table = "INPUT_DATA" if zipped else "DATA"
    assert source.counts[table] == len(rows)
    left_out = [n for key, n in source.counts.items() if key.startswith(f"{table}, ")]
    assert sum(left_out) == len(rows) - len(list(slowly(rows)))


def test_an_id_is_a_stay_an_admission_and_a_patient(tmp_path):
    source = read(write(tmp_path, [(3, 1.0, "HR", 80)], ids=(7, 3, -5, 3)))
    for frame, target in (
        (source.patients, schema.PATIENTS),
        (source.admissions, schema.ADMISSIONS),
        (source.stays, schema.STAYS),
    ):
        assert frame.columns == target.names
        for name in {"subject_id", "hadm_id", "stay_id"} & set(frame.columns):
            assert frame[name].to_list() == [7, 3, -5]
    assert source.counts["POP, IDs given again"] == 1
    assert source.counts["stays"] == 3
    assert source.codes.is_empty()
    assert list(source.notes()) == []


def test_no_task_has_labels_and_the_reason_is_said(tmp_path):
    source = read(write(tmp_path / "raw", [(1, 1.0, "HR", 80)]))
    run, out = Run(), Folder(str(tmp_path / "out"))
    index = Index.of([source], run.splits, 500)
    _, counted = write_labels(run.cohort, False, [source], {"fiddle": source.onsets()}, index, out)
    assert {of.unavailable for of in counted.values()} == {
        "not available from fiddle: FIDDLE's input has no outcomes"
    }
    assert counted.keys() == LEVELS.keys()


def test_files_are_the_two_tables_alone(tmp_path):
    write(tmp_path, [(1, 1.0, "HR", 80)], name="input_data.csv.gz")
    (tmp_path / "output.csv").write_text("x\n")
    assert set(fiddle.files(Folder(str(tmp_path)))) == {"pop.csv", "input_data.csv.gz"}
    assert READERS["fiddle"] is fiddle


@pytest.mark.parametrize(
    ("rows", "changes", "said"),
    [
        ([("a1", 1, "HR", 80)], {}, "table DATA .* than a whole number in column ID at line 2"),
        ([(1, SECRET, "HR", 80)], {}, "table DATA .* than a number in column T at line 2"),
        ([], {}, "table DATA in .* has no rows"),
        ([(1, 1, "HR", 80)], {"ids": ()}, "table POP in .* has no rows"),
        ([(1, 1, "HR", 80)], {"ids": ("x",)}, "table POP .* than a whole number in column ID"),
        ([(1, 1, "HR", 80)], {"name": "events.csv"}, "has no table of recordings; put one there"),
        ([(1, 1, "HR", 80)], {"header": "ID,t,variable,value"}, "has no column VARIABLE_NAME"),
    ],
)
def test_bad_input_is_refused_without_showing_it(tmp_path, rows, changes, said):
    folder = write(tmp_path, rows, **changes)
    with pytest.raises(Refusal, match=said) as error:
        events_of(read(folder))
    assert SECRET not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_without_its_tables_or_with_two_is_refused(tmp_path):
    with pytest.raises(Refusal, match=r"give the folder that holds pop\.csv"):
        read(tmp_path)
    write(tmp_path, [(1, 1.0, "HR", 80)])
    write(tmp_path, [(1, 1.0, "HR", 80)], name="input_data.csv")
    with pytest.raises(Refusal, match=r"both input_data\.csv and data\.csv; put one there"):
        read(tmp_path)


@pytest.mark.s3
def test_a_bucket_gives_the_same(tmp_path, s3):
    rows = [(1, 1.0, "HR", 80), (2, None, "SEX", "F")]
    local = Folder(write(tmp_path, rows, name="data.csv.gz"))
    for name in local.names():
        Folder(s3).write_bytes(name, local.read_bytes(name))
    assert events_of(read(s3)).rows() == list(slowly([(i, t, v, str(x)) for i, t, v, x in rows]))
    assert fiddle.files(Folder(s3)) == fiddle.files(local)


def resolved(source):
    """What FIDDLE is fitted to: events as ``scatter`` places them, one bucket, repeats resolved."""
    events = events_of(source).rename({"hours": "t"}).with_columns(id="stay_id")
    return repeats.resolve(events, repeats.choose_indicators([repeats.find_repeats(events)]))


def test_numbers_of_one_moment_are_readings_and_texts_are_named(tmp_path):
    rows = [
        *((1, 2.0, "HR", value) for value in (80, 90)),  # FIDDLE refuses this
        *((1, 2.0, "LAB", value) for value in ("<1", 7)),  # and this
        *((1, 2.0, "MED", value) for value in ("IV", "Oral", "IV")),
        *((1, None, "DX", value) for value in ("A", "B")),
        *((1, 2.0, "FIRST_WARDID", value) for value in (12, 7)),
        *((2, 1.0, "HR", 70), (2, 1.0, "HR", 70)),
    ]
    found = resolved(read(write(tmp_path, rows), cohort=Cohort(hours=4)))
    times = dict(found.sort("t").group_by("variable").agg("t").iter_rows())
    assert times.pop("DX") == [None, None]
    assert times == {
        "HR": [1.0, 2.0, 2.000001],
        "LAB": [2.0, 2.000001],
        "MED": [2.0, 2.0],
        "FIRST_WARDID": [2.0, 2.0],
    }
    fitted = features.fit([(found, [1, 2])], settings_of(4, Features()))
    names = {name.split("_value")[0] for name in fitted.hourly.names_all}
    assert names >= {"MED:IV", "MED:Oral", "FIRST_WARDID:_12", "FIRST_WARDID:_7"}


def test_two_numbers_without_a_time_are_refused_as_by_fiddle(tmp_path):
    source = read(write(tmp_path, [(1, None, "AGE", 50), (1, None, "AGE", 51)]))
    with pytest.raises(Refusal, match="Inconsistent numerical values recorded"):
        features.fit([(resolved(source), [1, 2, 3])], settings_of(Cohort().hours, Features()))


def recorded(case):
    return json.loads((GOLDEN / f"{case}.json").read_text())


def run_of(asked, raw, out="unused"):
    """A run with a recorded case's settings, everybody a training patient."""
    for kind in ("data", "population"):
        file = GOLDEN / asked[f"{kind}_file"]
        raw.mkdir(exist_ok=True)
        shutil.copy(file, raw / file.name)
    kinds = asked["config"]["value_types"].items()
    return Run(
        quiet=True,
        out=str(out),
        tables=Tables(sources=(f"fiddle={raw}",)),
        cohort=Cohort(hours=asked["T"]),
        splits=Splits(train=1 - 2e-9, validation=1e-9, test=1e-9),
        features=Features(
            dt=asked["dt"],
            theta_1=asked["theta_1"],
            theta_2=asked["theta_2"],
            theta_2_static=None,
            theta_freq=asked["theta_freq"],
            statistics=tuple(asked["stats_functions"]),
            discretize=asked["config"]["discretize"],
            ordinal=asked["config"]["use_ordinal_encoding"],
            value_types=tuple(f"{name}={kind}" for name, kind in kinds),
        ),
        shards=Shards(files=2, bucket_stays=100),
    )


def plain(name):
    """The name with a number at its end in its shortest form: FIDDLE prints "1.0" or "1"."""
    head, sep, tail = name.rpartition("_")
    number = number_of(tail)
    return name if number is None else f"{head}{sep}{number:g}"


def expected(case, letter):
    table = recorded(case)["expected"][letter]
    return [*map(plain, table["feature_names"])], {(*at, plain(f)) for *at, f in table["nonzero"]}


@pytest.mark.parametrize("case", CASES)
def test_fitted_to_what_is_read_the_features_are_fiddles(tmp_path, case):
    run = run_of(recorded(case)["settings"], tmp_path / "raw")
    source = fiddle.read("fiddle", str(tmp_path / "raw"), run)
    found, ids = resolved(source), source.stays["stay_id"].to_numpy()
    fitted = features.fit([(found, ids)], settings_of(run.cohort.hours, run.features))
    made = features.transform(found, ids, fitted)
    static = np.repeat(made.ids, np.diff(made.static_offsets))
    names, cells = expected(case, "S")
    assert [*map(plain, fitted.static.names)] == names
    assert {(i, names[f]) for i, f in zip(static.tolist(), made.static_ids, strict=True)} == cells
    assert [*map(plain, fitted.hourly.names)] == expected(case, "X")[0]
    assert len(made.feature_ids) == len(expected(case, "X")[1])


@pytest.mark.ray
@pytest.mark.parametrize("case", CASES[:2])
def test_shards_hold_fiddles_features(ray, tmp_path, case):
    run = run_of(recorded(case)["settings"], tmp_path / "raw", tmp_path / "out")
    featurize(run)
    manifest = open_shards(run).manifest
    names, cells = expected(case, "X")
    assert [*map(plain, manifest.features)] == names
    assert shards_cells(run, "feature_ids", names) == cells
    names, cells = expected(case, "S")
    assert [*map(plain, manifest.demographics)] == names
    assert shards_cells(run, "demographic_ids", names) == cells
    assert manifest.rows_read["fiddle"] == {"DATA": 62, "POP": 5}
    assert manifest.left_out["fiddle"] == {
        "DATA, before hour 0 or at or after hour 4": 2,
        "DATA, of no ID of the population": 1,
        "DATA, without a variable": 0,
        "POP, IDs given again": 0,
        "POP, without an ID": 0,
    }


def shards_cells(run, column, names):
    """(ID, hour, name) of every feature that is on; (ID, name) of the demographic ones."""
    found = set()
    for file in open_shards(run).manifest.tables["stays"]:
        rows = (Folder(run.out) / "shards" / "stays").read_parquet(file)
        csr = Csr.from_arrow(rows[column])
        hours = np.array(rows["hour_offsets"].to_pylist())
        for row, stay in enumerate(rows["stay_id"].to_pylist()):
            ids = [names[f] for f in csr.take(np.array([row])).values]
            if column == "feature_ids":
                at = np.repeat(np.arange(hours.shape[1] - 1), np.diff(hours[row])).tolist()
                found |= {(stay, k, name) for k, name in zip(at, ids, strict=True)}
            else:
                found |= {(stay, name) for name in ids}
    return found


@pytest.mark.parametrize("entry", ["WARD", "=Numeric", "WARD=Number", ""])
def test_a_declared_type_that_is_none_is_refused(entry):
    with pytest.raises(Refusal, match=r"features.value_types has the entry .* write it as NAME=TY"):
        Run(features=Features(value_types=(entry,))).check()
