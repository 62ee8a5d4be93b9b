"""A canary in every column of every table of every source: no message, line or count repeats it.

Whatever a cell holds, a reader and what follows it succeed or refuse in words of their own. Where
the data's own texts are wanted they may stand: in the events, codes and notes, and so in the names
of categorical features and drugs, which the manifest lists by FIDDLE's design and the paper's.
"""

import csv
import io
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.featurize import featurize
from medhmp.features import fiddle as features
from medhmp.features import hierarchy, repeats
from medhmp.features.settings import settings_of
from medhmp.legend import LEVELS
from medhmp.recipes import smoke
from medhmp.refusal import Refusal
from medhmp.run import Features, Splits, Tables
from medhmp.shards.build.codes import code_admissions
from medhmp.shards.build.index import Index
from medhmp.storage import COMPLETE
from medhmp.tables.csv import RawTables
from medhmp.tables.schema import Source
from medhmp.tables.sources import READERS
from medhmp.tasks import cohort
from tests.medhmp.tables.conftest import CLIF_DEMO, EicuTables, RawFolder, fill
from tests.medhmp.tables.meds.test_reader import Dataset, Mimic
from tests.medhmp.tables.mimic import test_mimic4 as mimic4
from tests.medhmp.tables.physionet2012.test_reader import Sets

CANARY = "Zq [red]Jane Roe[/red] {0} %s 555-0100"
"""Has what markup, formats and paths give a meaning to; no number, no time, no code."""

RUN = replace(
    smoke(), quiet=False, features=Features(theta_1=0.45, theta_2=0.45, theta_2_static=None)
)
"""What a single stay of three has is too rare to become a feature."""

Rows = list[list[str]]


def write_mimic3(folder: Path) -> None:
    raw = RawFolder(folder)
    fill(raw)
    own = {"subject_id": 1, "hadm_id": 11}
    raw.add("PRESCRIPTIONS", **own, startdate="2100-01-01 00:00:00", drug="Aspirin", ndc=1, gsn=2)
    at = {"charttime": "2100-01-01 07:00:00"}
    raw.add("MICROBIOLOGYEVENTS", **own, **at, chartdate="2100-01-01 00:00:00", spec_itemid=70012)
    raw.add("DATETIMEEVENTS", icustay_id=101, itemid=224183, value="2099-12-30 00:00:00", **at)
    raw.add("OUTPUTEVENTS", icustay_id=101, itemid=226559, value="40", **at)
    raw.add(
        *("NOTEEVENTS",),
        **own,
        chartdate="2100-01-05 00:00:00",
        category="Discharge summary",
        description="Report",
        text="a note",
    )
    raw.write(gz=False)


def write_mimic4(folder: Path) -> None:
    tables = mimic4.filled()
    own = {"subject_id": 1, "hadm_id": 11}
    at = {"charttime": "2150-05-01 07:00:00"}
    tables.add("hosp/prescriptions", **own, starttime="2150-05-01 00:00:00", drug="Aspirin", ndc=1)
    tables.add("hosp/microbiologyevents", **own, **at, spec_itemid=70012)
    tables.add("icu/datetimeevents", stay_id=101, itemid=224183, value="2150-04-30", **at)
    tables.add("icu/outputevents", stay_id=101, itemid=226559, value="40", **at)
    tables.add("note/discharge", **own, note_type="DS", note_seq=1, text="a note", **at)
    tables.write(folder, gz=False)


def write_eicu(folder: Path) -> None:
    EicuTables(patients=3).write(folder, gz=False)


def write_clif(folder: Path) -> None:
    """Three patients of the demo, some rows each, as CSV."""
    folder.mkdir()
    of = pl.read_parquet(CLIF_DEMO / "clif_adt.parquet").filter(location_category="icu")
    people = of["patient_id"].unique().sort()[:3]
    admissions = of.filter(pl.col("patient_id").is_in(people.implode()))["hospitalization_id"]
    for path in CLIF_DEMO.glob("*.parquet"):
        table = pl.read_parquet(path)
        key, own = "hospitalization_id", admissions
        if key not in table.columns:
            key, own = "patient_id", people
        times = [name for name, kind in table.schema.items() if isinstance(kind, pl.Datetime)]
        table = table.filter(pl.col(key).is_in(own.unique().implode()))
        table = table.group_by(key, maintain_order=True).head(9)
        texts = table.with_columns(pl.col(times).dt.strftime("%Y-%m-%d %H:%M:%S"))
        texts.write_csv(folder / f"{path.stem}.csv")


def write_meds(folder: Path) -> None:
    dataset = Dataset(Mimic(), patients=8)
    dataset.splits = dict.fromkeys(dataset.rows, "train")
    dataset.write(folder, shards=1)


def write_physionet2012(folder: Path) -> None:
    Sets(folder, records=6).write(kind="tar")


def write_fiddle(folder: Path) -> None:
    folder.mkdir()
    rows = [
        (i, t, name, v) for i in (1, 2, 3) for t, name, v in ((0, "HR", 80), (1, "RHYTHM", "AF"))
    ]
    rows += [(i, "", "ICD9_CODE", "4280") for i in (1, 2, 3)]
    lines = [",".join(map(str, row)) for row in rows]
    (folder / "data.csv").write_text("\n".join(["ID,t,variable_name,variable_value", *lines, ""]))
    (folder / "pop.csv").write_text("ID\n1\n2\n3\n")


WRITERS: Mapping[str, Callable[[Path], None]] = {
    "mimic3": write_mimic3,
    "mimic4": write_mimic4,
    "eicu": write_eicu,
    "clif": write_clif,
    "meds": write_meds,
    "physionet2012": write_physionet2012,
    "fiddle": write_fiddle,
}


@dataclass(frozen=True)
class Csv:
    """The rows of a file of text, header first."""

    path: Path
    rows: Rows

    @staticmethod
    def of(path: Path) -> "Csv":
        return Csv(path, list(csv.reader(io.StringIO(path.read_text()))))

    @property
    def columns(self) -> list[str]:
        return self.rows[0]

    @property
    def table(self) -> str:
        return self.path.stem.upper()

    def plant(self, columns: Sequence[str], every: bool) -> None:
        """Puts the canary into one row of some columns, or into every row."""
        rows = [row[:] for row in self.rows]
        for row in rows[1:] if every else rows[1:2]:
            for column in columns:
                row[self.columns.index(column)] = CANARY
        with self.path.open("w", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerows(rows)

    def restore(self) -> None:
        with self.path.open("w", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerows(self.rows)


@dataclass(frozen=True)
class Parquet:
    """A Parquet file. Columns of another type than text become text where the canary is put."""

    path: Path
    rows: pa.Table

    @staticmethod
    def of(path: Path) -> "Parquet":
        return Parquet(path, pq.read_table(path))

    @property
    def columns(self) -> list[str]:
        return self.rows.column_names

    @property
    def table(self) -> str:
        return self.path.stem

    def plant(self, columns: Sequence[str], every: bool) -> None:
        table = self.rows
        for column in columns:
            texts = table[column].cast(pa.string()).to_pylist()
            planted = [CANARY if every or row == 3 else text for row, text in enumerate(texts)]
            place = self.columns.index(column)
            table = table.set_column(place, column, pa.array(planted, pa.string()))
        pq.write_table(table, self.path)

    def restore(self) -> None:
        pq.write_table(self.rows, self.path)


@dataclass(frozen=True)
class Records:
    """The records of an archive of the Challenge: three columns, and a header as in the rest."""

    path: Path
    files: Mapping[str, bytes]

    columns = ("Time", "Parameter", "Value")
    table = "records"

    @staticmethod
    def of(path: Path) -> "Records":
        with tarfile.open(path) as archive:
            names = [name for name in archive.getnames() if name.endswith(".txt")]
            return Records(path, {name: archive.extractfile(name).read() for name in names})

    def plant(self, columns: Sequence[str], every: bool) -> None:
        places = [self.columns.index(column) for column in columns]
        chosen = list(self.files) if every else list(self.files)[:1]
        planted = {name: self._planted(self.files[name], places, every) for name in chosen}
        self._write({**self.files, **planted})

    def _planted(self, data: bytes, places: Sequence[int], every: bool) -> bytes:
        rows = list(csv.reader(io.StringIO(data.decode())))
        for row in rows[1:] if every else rows[9:10]:
            for place in places:
                row[place] = CANARY
        return "\n".join([*map(",".join, rows), ""]).encode()

    def restore(self) -> None:
        self._write(self.files)

    def _write(self, files: Mapping[str, bytes]) -> None:
        with tarfile.open(self.path, "w") as archive:
            for name, data in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


KINDS = {".csv": Csv, ".txt": Csv, ".parquet": Parquet, ".tar": Records}


def files_of(folder: Path) -> list[Any]:
    """The tables of a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in KINDS)
    return [KINDS[path.suffix].of(path) for path in paths]


def through(source: Source) -> list[str]:
    """Everything that featurization does with a source; returns the words that it makes of it."""
    events = [pl.from_arrow(batch) for batch in source.events()]
    for batch in source.notes():
        batch.validate()
    words = [*source.counts, *source.unlabelled.values(), *source.streams, *source.shares]
    index = Index.of([source], RUN.splits, 500)
    words += [reason for of in index.left_out.values() for reason in of]
    for task in LEVELS:
        if task not in source.unlabelled:
            of = cohort.label(task, source, source.onsets(), RUN.cohort, icd9_only=False)
            words += [step for step, _ in of.steps]
    coded = code_admissions([source], index, RUN.features, None)
    words += [reason for of in coded.counts.values() for reason in of]
    words += coded.fitted.vocabularies["diagnosis"].codes
    return [*words, learnt(source, events)]


def learnt(source: Source, events: Sequence[Any]) -> str:
    """What the manifest would tell of features fitted to these events."""
    if not events:
        return ""
    ids = source.stays.select("stay_id").with_row_index("id").cast(pl.Int64)
    rows = pl.concat(events).join(ids, on="stay_id").rename({"hours": "t"})
    hierarchy.refuse(hierarchy.unknown(rows, RUN.features.types()))
    indicated = repeats.choose_indicators([repeats.find_repeats(rows)])
    resolved = repeats.resolve(rows, indicated)
    fitted = features.fit([(resolved, ids["id"])], settings_of(RUN.cohort.hours, RUN.features))
    return fitted.published().to_json()


ITEMS = {"D_ITEMS": "CHARTEVENTS"}
"""Table that only the stream of another reads."""
TWICE = ("MEDICATION", "DATA")
"""Tables that a stream and ``read`` read."""


def again(name: str, folder: Path, table: str, clean: Source, every: bool) -> list[str]:
    """Reads one table once more: by its stream or as notes, and else with what follows."""
    stream = clean.streams.get(ITEMS.get(table, table))
    stream = clean.notes if table in ("NOTEEVENTS", "DISCHARGE") else stream
    if stream is None or table in TWICE:
        source = READERS[name].read(name, str(folder), RUN)
        return list(source.counts) if every and name == "eicu" else through(source)
    events = [pl.from_arrow(batch) for batch in stream()]
    if stream is clean.notes:
        return list(clean.counts)
    return [*clean.counts, learnt(clean, events)]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """TABLE -> the columns of its file that were read."""
    found: dict[str, set[str]] = {}
    scan = RawTables.scan

    def spy(self: RawTables, table: str, columns: Mapping[str, Any]) -> Iterator[pl.DataFrame]:
        found.setdefault(table, set()).update(columns)
        return scan(self, table, columns)

    monkeypatch.setattr(RawTables, "scan", spy)
    return found


@pytest.mark.parametrize("name", WRITERS)
def test_no_message_line_or_count_repeats_a_cell(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], asked: dict[str, set[str]]
) -> None:
    folder, refused = tmp_path / name, 0
    WRITERS[name](folder)
    clean = READERS[name].read(name, str(folder), RUN)
    through(clean)
    files = files_of(folder)
    read = {file.path: _read(file, asked) for file in files}
    for file in files:  # what is not read cannot fail: all of it at once
        file.plant([c for c in file.columns if c not in read[file.path]], every=True)
    words = through(READERS[name].read(name, str(folder), RUN))
    assert not leaks("\n".join([*words, *capfd.readouterr()]))
    for file in files:
        file.restore()
    for file in files:
        for column in sorted(read[file.path]):
            for every in (False, True):
                file.plant([column], every)
                try:
                    words = again(name, folder, file.table, clean, every)
                except Refusal as refusal:
                    refused += 1
                    words = [str(refusal), repr(refusal)]
                if every:  # what all stays have may be a feature, so its name is one
                    words = [word for word in words if not word.startswith('{"plan"')]
                said = "\n".join([*words, *capfd.readouterr()])
                assert not leaks(said), f"{file.path.name} {column}: {said}"
        file.restore()
    assert refused > 3


TEXTS = {
    "mimic3": ("CHARTEVENTS", "VALUE"),
    "mimic4": ("CHARTEVENTS", "value"),
    "eicu": ("NURSECHARTING", "NURSINGCHARTVALUE"),
    "clif": ("CLIF_PATIENT_ASSESSMENTS", "categorical_value"),
    "meds": ("0", "text_value"),
    "fiddle": ("DATA", "variable_value"),
}
"""Source -> a column of values that may be any text."""


@pytest.mark.ray
def test_no_output_or_line_of_featurize_repeats_a_cell(
    ray: object, tmp_path: Path, capfd: pytest.CaptureFixture[str], asked: dict[str, set[str]]
) -> None:
    """All sources in one run: the canary in all that is not read, and once as a value."""
    for name, write in WRITERS.items():
        folder = tmp_path / name
        write(folder)
        through(READERS[name].read(name, str(folder), RUN))
        planted = 0
        for file in files_of(folder):
            file.plant([c for c in file.columns if c not in _read(file, asked)], every=True)
            if (file.table, *TEXTS.get(name, ())[1:]) == TEXTS.get(name):
                KINDS[file.path.suffix].of(file.path).plant([TEXTS[name][1]], every=False)
                planted += 1
        assert planted == (name in TEXTS)
        asked.clear()
    run = replace(
        RUN,
        out=str(tmp_path / "out"),
        tables=Tables(sources=tuple(f"{name}={tmp_path}/{name}" for name in WRITERS)),
        features=Features(theta_2=0.2, theta_2_static=None),  # of 34 stays
        splits=Splits(train=0.98, validation=0.01, test=0.01),
    )
    featurize(run)
    told = [path for path in (tmp_path / "out").rglob("*") if path.suffix in (".json", ".jsonl")]
    assert {"manifest.json", "featurize.json", COMPLETE} <= {path.name for path in told}
    printed = "".join(capfd.readouterr())
    assert "hourly and" in printed
    assert not leaks(printed)
    assert [path.name for path in told if leaks(path.read_text())] == []


def _read(file: Any, asked: Mapping[str, set[str]]) -> set[str]:
    """The columns that were read of a file; all of one that is no CSV table."""
    columns = asked.get(file.table)
    return {c for c in file.columns if columns is None or c.strip().lower() in columns}


def leaks(said: str) -> bool:
    """True if a piece of the canary is in the words."""
    return any(piece.lower() in said.lower() for piece in ("Zq [", "Jane", "555-0100"))
