"""Plausible ranges: what is converted, left out and kept, and counted; defects of the file."""

import re

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medhmp.recipes import RECIPES
from medhmp.refusal import Refusal
from medhmp.run import Features, Run, Tables
from medhmp.tables import ranges, schema
from medhmp.tables.ranges import Ranges

OURS = ranges.read_variables("default")


def events(*readings):
    rows = [
        {"stay_id": n, "variable": name, "number": None if isinstance(v, str) else v}
        | ({"text": v} if isinstance(v, str) else {})
        for n, (name, v) in enumerate(readings)
    ]
    kinds = {"stay_id": pl.Int64, "variable": pl.String, "number": pl.Float64, "text": pl.String}
    return pl.DataFrame(rows, schema=kinds)


def mended(source, *readings):
    counts = {}
    frame = Ranges.of(OURS, source).plausible(events(*readings), counts)
    values = [text if n is None else n for n, text in frame.select("number", "text").rows()]
    return dict(zip(frame["stay_id"], values, strict=True)), counts


@pytest.mark.parametrize(
    ("source", "variable", "value", "expected", "reason"),
    [
        ("mimic", "Temperature", 97.2, 36.222222, "temperature, in °F, converted to °C"),
        ("mimic", "Temperature", 2.7, 36.86, "temperature, in °C taken for °F, converted to °C"),
        ("mimic", "Temperature", 0.0, None, "temperature, implausible, left out"),
        ("mimic", "Temperature", 9.0, None, "temperature, implausible, left out"),
        ("mimic", "Height", 2_095_678, None, "height, implausible, left out"),
        ("mimic", "RR", 7_000_400, None, "respiratory rate, implausible, left out"),
        ("mimic", "HR", -1, None, "heart rate, implausible, left out"),
        ("mimic", "HR", 0, 0, None),
        ("mimic", "223835", 0.4, 40, "inspired oxygen, in a fraction, converted to %"),
        ("mimic", "50820", 735, 7.35, "pH of blood, in pH without its point, converted to 1"),
        ("mimic", "50971", 999_999, None, "potassium, implausible, left out"),
        ("mimic", "50983", 7, None, "sodium, implausible, left out"),
        ("mimic", "51222", 131, 13.1, "hemoglobin, in g/L, converted to g/dL"),
        ("mimic", "12345", 1e9, 1e9, None),  # of no entry
        ("mimic", "HR", "Sinus", "Sinus", None),
        ("eicu", "temperature", 98.6, 37, "temperature, in °F, converted to °C"),
        ("eicu", "admissionheight", 1.7, 170, "height, in m, converted to cm"),
        ("eicu", "sao2", 120, None, "oxygen saturation, implausible, left out"),
        ("eicu", "Vital Signs|Heart Rate|Heart Rate", 80, 80, None),
        ("eicu", "lactate", 4000, None, "lactate, implausible, left out"),
        ("physionet2012", "Temp", -17.8, None, "temperature, implausible, left out"),
        (
            "physionet2012",
            "FiO2",
            60,
            0.6,
            "inspired oxygen as a fraction, in %, converted to 1",
        ),
        ("physionet2012", "Weight", -1, None, "weight, implausible, left out"),
        (
            "meds",
            "LAB//223761//°F",
            36.8,
            98.24,
            "temperature in Fahrenheit, in °C, converted to °F",
        ),
        ("meds", "LAB//50912//mg/dL", 400, None, "creatinine, implausible, left out"),
        ("meds", "LAB//50912//umol/L", 400, 400, None),  # another variable
    ],
)
def test_a_reading(source, variable, value, expected, reason):
    values, counts = mended(source, (variable, value))
    assert values == ({} if expected is None else {0: pytest.approx(expected)})
    assert counts == ({reason: 1} if reason else {})


NAMES = st.sampled_from(["HR", "RR", "Temperature", "50971", "50820", "of no entry"])
NUMBER = st.floats(-1e7, 1e7) | st.floats(-50, 200) | st.sampled_from([0.0, 35.0, 98.0, 350.0])


@given(st.lists(st.tuples(NAMES, NUMBER), max_size=30))
def test_every_reading_is_plausible_converted_or_counted(readings):
    values, counts = mended("mimic", *readings)
    limits = {v: (low, high) for v, _, low, high in Ranges.of(OURS, "mimic").limits.rows()}
    assert list(values) == sorted(values)  # in the order given
    converted = 0
    for place, number in values.items():
        name, given = readings[place]
        low, high = limits.get(name, (-1e9, 1e9))
        assert low <= number <= high
        assert number == given or not low <= given <= high
        converted += number != given
    gone = len(readings) - len(values)
    assert sum(n for reason, n in counts.items() if reason.endswith("left out")) == gone
    assert sum(counts.values()) == gone + converted


def test_what_is_plausible_stays_the_same_frame():
    given = events(("HR", 80), ("50971", 4.1), ("x", None))
    assert Ranges.of(OURS, "mimic").plausible(given, {}) is given


def test_none_leaves_everything():
    given = events(("RR", 7e6))
    assert Ranges.of(ranges.read_variables("none"), "mimic").plausible(given, {}) is given
    assert ranges.fingerprint("none") is None
    assert RECIPES["paper"]().tables.variables == "none"


def test_every_entry_is_consistent():
    text = (ranges.resources.files("medhmp.tables") / "variables.yaml").read_text("utf-8")
    content = ranges.yaml.safe_load(text)
    said = {entry["reference"] for entry in content["variables"].values()}
    assert said == set(content["references"])
    for of in OURS:
        assert of.low < of.high
        assert of.names
        for unit in of.others:  # a plausible value of ours is no value of the other unit
            ends = sorted((end - unit.plus) / unit.times for end in (of.low, of.high))
            assert ends[0] < of.low or ends[1] > of.high


SHARED = [
    ("mimic", "HR", 80, "heart rate", 80),
    ("mimic", "50971", 4.1, "potassium", 4.1),
    ("mimic", "12345", 1, "12345", 1),  # of no entry
    ("eicu", "Vital Signs|Temperature|Temperature (F)", 98.6, "temperature", 37),
    ("eicu", "BUN", 20, "urea nitrogen", 20),
    ("eicu", "CRP", 3, "C-reactive protein", 30),
    ("clif", "vitals|temp_c", 98.6, "temperature", 37),  # out of its range, so converted twice
    ("clif", "respiratory|fio2_set", 0.4, "inspired oxygen", 40),
    ("clif", "labs|troponin_t|ng/l", 50, "troponin T", 0.05),
    ("clif", "labs|calcium_ionized|mg/dl", 4.5, "ionized calcium", 1.12275),
    ("meds", "LAB//226531//UNK", 200, "weight", 90.718474),
    ("meds", "LAB//226707//Inch", 70, "height", 177.8),
    ("physionet2012", "FiO2", 0.5, "inspired oxygen", 50),
    ("physionet2012", "Mg", 2, "magnesium", 2),
]


@pytest.mark.parametrize(("source", "variable", "value", "name", "number"), SHARED)
def test_shared_names_have_one_unit(source, variable, value, name, number):
    given = events((variable, value), (variable, "clotted"), (variable, value)).with_columns(
        hours=pl.Series([1.0, 2.0, None]), repeats=pl.lit("median")
    )
    frame = Ranges.of(OURS, source, "shared").plausible(given, {})
    assert frame["variable"].to_list() == [name, name, variable]  # a fact keeps its name
    assert frame["number"][0] == pytest.approx(number)
    assert frame["text"].to_list() == [None, "clotted", None]
    way = "median" if name == variable else "apart"
    assert frame["repeats"].to_list() == [way, way, "median"]
    assert frame.columns == given.columns


def test_forty_quantities_have_one_name_in_every_source():
    of = {source: {v.shared.name for v in OURS if v.names.get(source)} for source in ranges.SOURCES}
    assert len(of["mimic"] & of["eicu"] & of["clif"] & of["meds"]) >= 40
    assert len(of["mimic"] & of["physionet2012"]) >= 30


def test_shared_names_need_the_file_that_has_them():
    run = Run(tables=Tables(variables="none"), features=Features(names="shared"))
    with pytest.raises(Refusal, match=r"features\.names is shared and tables\.variables"):
        run.check()


GOOD = """
references: {textbook: a book}
variables:
  pulse:
    unit: /min
    range: [20, 200]
    other_units: [{unit: Hz, times: 60}]
    reference: textbook
    names: {mimic: [HR], meds: [OBS/pulse]}
"""


def written(tmp_path, text):
    path = tmp_path / "own.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_file_of_ones_own_replaces_ours(tmp_path):
    own = ranges.read_variables(written(tmp_path, GOOD))
    (pulse,) = own
    assert (pulse.low, pulse.high) == (20, 200)
    counts = {}
    given = events(("HR", 1.5), ("HR", 250), ("RR", 7e6))
    frame = Ranges.of(own, "mimic").plausible(given, counts)
    assert frame["number"].to_list() == [90, 7e6]
    assert counts == {"pulse, in Hz, converted to /min": 1, "pulse, implausible, left out": 1}
    settings = schema.ReaderSettings.of(Run(tables=Tables(variables=str(tmp_path / "own.yaml"))))
    assert settings.variables == own
    assert ranges.fingerprint(str(tmp_path / "own.yaml")) != ranges.fingerprint("default")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("range: [20, 200]", "range: [200, 20]", "entry 'pulse' has no range of two ascending"),
        ("range: [20, 200]", "range: [20, high]", "entry 'pulse' has no range of two ascending"),
        ("range: [20, 200]", "range: 20-200", "entry 'pulse' has no range of two ascending"),
        ("    range: [20, 200]\n", "", "entry 'pulse' has no 'range'; add it"),
        ("reference: textbook", "reference: ''", "has an empty 'reference'; say where"),
        ("    reference: textbook\n", "", "has no 'reference'; add it"),
        ("range:", "limits: 1\n    range:", "entry 'pulse' has 'limits'; an entry has unit"),
        ("mimic: [HR]", "mimic3000: [HR]", "names a source 'mimic3000'; one of mimic, eicu"),
        ("mimic: [HR]", "mimic: HR", "has no list of variables of mimic; write"),
        ("mimic: [HR]", "mimic: [HR, HR]", "names HR of mimic, as 'pulse' does; keep it once"),
        ("times: 60", "times: sixty", "has one of other_units that is not"),
        ("times: 60", "times: 60, between: [2, 1]", "has no between of two ascending numbers"),
        ("times: 60", "time: 60", "has one of other_units that is not"),
        ("unit: /min", "unit: /min\n    shared: rate", "has a 'shared' that is not {as: ENTRY"),
        ("unit: /min", "unit: /min\n    shared: {as: rate}", "is shared as no entry that stays"),
        ("  pulse:\n", "  pulse: [\n", "is no good YAML at line"),
        ("unit: /min", "unit: /min\n    unit: bpm", "is no good YAML at line 6 .'unit' is there"),
        ("variables:", "quantities:", "has no mapping 'variables'; write it in the form"),
        ("variables:", "[1, 2]: x\nvariables:", "is no good YAML at line 3 .a key is no word"),
        (GOOD, "- a\n- b\n", "has no mapping 'variables'"),
        (GOOD, "variables: {pulse: 3}", "entry 'pulse' is no mapping; write unit, range"),
    ],
)
def test_a_bad_file_is_refused_in_one_sentence(tmp_path, old, new, sentence):
    assert old in GOOD
    where = written(tmp_path, GOOD.replace(old, new))
    with pytest.raises(Refusal, match=re.escape(where)) as refused:
        schema.ReaderSettings.of(Run(tables=Tables(variables=where)))
    assert re.search(sentence, str(refused.value))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["absent.yaml", "latin.yaml", ""])
def test_a_file_that_cannot_be_read_is_refused(tmp_path, name):
    (tmp_path / "latin.yaml").write_bytes("variables: °".encode("latin-1"))
    with pytest.raises(Refusal, match=r"cannot be read .* give default, none, or a file"):
        ranges.read_variables(str(tmp_path / name))
