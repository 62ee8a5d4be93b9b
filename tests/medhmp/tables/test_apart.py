"""Several sources in one run: no two share an identifier, and nothing else about them changes."""

from dataclasses import replace

import polars as pl
import pytest

from medhmp.recipes import smoke
from medhmp.refusal import Refusal
from medhmp.run import Synthetic
from medhmp.storage import Folder
from medhmp.synthetic import synthesize
from medhmp.tables.mimic import mimic3
from medhmp.tables.schema import ID_COLUMNS, IDS
from medhmp.tables.sources import apart

TABLES = ("patients", "admissions", "stays", "codes")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("raw"))
    synthesize(Synthetic(patients=30), Folder(folder))
    return folder


def read(folder, name="mimic3"):
    return mimic3.read(name, str(folder), replace(smoke(), quiet=True))


def frames(source):
    """Every table of a source, streams read."""
    streams = {"events": source.events, "notes": source.notes}
    read = {
        name: pl.concat(pl.from_arrow(batch) for batch in stream())
        for name, stream in streams.items()
    }
    return {name: getattr(source, name) for name in TABLES} | read | {"onsets": source.onsets()}


def lowered(frame, by):
    return frame.with_columns(pl.col(name) - by for name in ID_COLUMNS if name in frame.columns)


def test_identifiers_of_the_second_are_raised_and_all_else_is_as_it_was(folder):
    alone = frames(read(folder))
    first, second = (frames(source) for source in apart([read(folder), read(folder, "again")]))
    for name, frame in alone.items():
        assert first[name].equals(frame)
        assert lowered(second[name], IDS).equals(frame)
        for column in set(ID_COLUMNS) & set(frame.columns):
            assert not set(first[name][column]) & set(second[name][column])


def test_a_lone_source_keeps_its_identifiers_however_long(folder):
    source = read(folder)
    long = replace(source, patients=source.patients.with_columns(pl.col("subject_id") + IDS))
    assert apart([long]) == [long]
    with pytest.raises(Refusal, match="mimic3 has a subject_id below 0 or of more than 10 digits"):
        apart([long, source])
