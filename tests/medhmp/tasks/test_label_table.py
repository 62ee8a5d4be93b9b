"""Label tables as people have them: files and folders, types and spellings, and what is refused."""

from datetime import datetime

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medhmp.refusal import Refusal
from medhmp.run import OwnTask
from medhmp.storage import Folder
from medhmp.tasks.label_table import LabelTable

NOON = datetime(2100, 1, 1, 12)


def read(place, level="stay", **columns):
    if columns:
        pl.DataFrame(columns).write_parquet(place)
    return LabelTable.find("own", OwnTask(level, str(place))).read()


def test_a_file_has_a_row_s_identifier_or_its_patient_and_time(tmp_path):
    by_id = read(tmp_path / "a.parquet", stay_id=[7, 8], label=[1, 0], ward=["x", "y"])
    assert by_id.to_dict(as_series=False) == {"row": [0, 1], "stay_id": [7, 8], "label": [1, 0]}
    by_time = read(
        tmp_path / "b.parquet", subject_id=[3], prediction_time=[NOON], boolean_value=[True]
    )
    assert by_time.drop("row").rows() == [(3, NOON, 1)]
    both = {"stay_id": [7], "subject_id": [3], "prediction_time": [NOON], "label": [0]}
    assert read(tmp_path / "c.parquet", **both).columns == [
        *("row", "stay_id", "prediction_time", "label")
    ]


def test_the_standard_s_labels_are_read_as_they_are_written(tmp_path):
    """Nested files, one of them empty, in the types of the ``meds`` package."""
    import meds

    rows = [
        {"subject_id": 4, "prediction_time": NOON, "boolean_value": True},
        {"subject_id": 5, "prediction_time": NOON, "boolean_value": False},
    ]
    for name, part in (("train/0", rows[:1]), ("held_out/0", rows[1:]), ("held_out/1", [])):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        table = pa.Table.from_pylist(part, schema=None if part else pa.schema({"x": pa.int8()}))
        table = meds.LabelSchema.align(table) if part else table
        pq.write_table(table, tmp_path / f"{name}.parquet")
    found = read(tmp_path, "patient")
    assert found.select("subject_id", "prediction_time", "label").sort("subject_id").rows() == [
        *((4, NOON, 1), (5, NOON, 0))
    ]


@pytest.mark.parametrize("place", ["disk", "bucket"])
def test_a_csv_of_whatever_spelling_in_a_folder_or_a_bucket(tmp_path, request, place):
    folder = Folder(str(tmp_path) if place == "disk" else request.getfixturevalue("s3") + "/x")
    folder.write_bytes("a.csv", b"HADM_ID,Label,prediction_time\n1,TRUE,2100-01-01 12:00:00.5\n")
    folder.write_bytes("b.csv", b"hadm_id,label,prediction_time\n2,0.0,2100-01-01\n3,,\n")
    expected = [(1, NOON, 1), (2, datetime(2100, 1, 1), 0), (3, None, None)]
    for uri in (folder.uri, f"{folder.uri}/"):
        table = LabelTable.find("own", OwnTask("admission", uri))
        assert table.read().drop("row").rows() == expected
    one = LabelTable.find("own", OwnTask("admission", f"{folder.uri}/a.csv"))
    assert one.read().drop("row").rows() == expected[:1]
    assert one.fingerprint != table.fingerprint
    folder.write_bytes("c.csv", b"hadm_id,label,prediction_time\n")
    assert LabelTable.find("own", OwnTask("admission", uri)).fingerprint != table.fingerprint


@pytest.mark.parametrize(
    ("text", "level", "said"),
    [
        ("stay_id,value\n1,1\n", "stay", "has no column label or boolean_value; add one"),
        ("hadm_id,label\n1,1\n", "stay", "no column stay_id, or subject_id with prediction_time"),
        ("subject_id,label\n1,1\n", "patient", "no column subject_id with prediction_time, by"),
        ("stay_id,label\n1,2\n1,yes\n", "stay", "has 2 labels that are neither 0 nor 1, false"),
        ("stay_id,label\nmary,1\n", "stay", "something else than a whole number in column STAY_ID"),
        ("stay_id,label\n", "stay", "has no row; give labels, or leave out the task"),
    ],
)
def test_what_is_no_label_table_is_refused_without_a_cell_s_text(tmp_path, text, level, said):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(Refusal) as refused:
        read(tmp_path / "labels.csv", level)
    assert said in str(refused.value)
    assert "mary" not in str(refused.value)
    assert "yes" not in str(refused.value)


def test_files_of_two_tables_and_places_without_one_are_refused(tmp_path):
    with pytest.raises(Refusal, match="where there is no Parquet or CSV file; give the file"):
        read(tmp_path)
    (tmp_path / "a.csv").write_text("stay_id,label\n1,1\n")
    (tmp_path / "b.csv").write_text("stay_id,prediction_time,label\n1,2100-01-01,1\n")
    with pytest.raises(Refusal, match=r"other columns in b\.csv than in a\.csv"):
        read(tmp_path)
