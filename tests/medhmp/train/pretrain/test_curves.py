"""Curves as TensorBoard itself reads them: growing on disk, whole in an output, never twice."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from medhmp.storage import Entry, Folder
from medhmp.train.pretrain.curves import FOLDER, Curves, write_curves


def row(epoch):
    return {
        "stage": "pretrain_stay",
        "epoch": epoch,
        "loss": 1 / (epoch + 1),
        "rows_per_s": 100.0 + epoch,
        "ended": 1.8e9 + epoch,
    }


ROWS = [row(epoch) for epoch in range(4)]


def points(folder):
    """Curve -> its points (step, value, time)."""
    events = EventAccumulator(str(folder / FOLDER))
    events.Reload()
    return {
        tag: [(event.step, event.value, event.wall_time) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def expected(rows):
    return {
        name: [(r["epoch"], pytest.approx(r[name]), r["ended"]) for r in rows]
        for name in ("loss", "rows_per_s")
    }


def test_points_are_there_as_soon_as_they_are_added(tmp_path):
    curves = Curves(Folder(str(tmp_path)), [])
    for count in (1, 2):
        curves.add(ROWS[count - 1])
        assert points(tmp_path) == expected(ROWS[:count])
    curves.close()


def test_a_training_that_goes_on_has_each_epoch_once(tmp_path):
    """The first try came to epoch 2, its newest checkpoint is of epoch 1."""
    killed = Curves(Folder(str(tmp_path)), [])
    for r in ROWS[:3]:
        killed.add({**r, "loss": -1.0})
    again = Curves(Folder(str(tmp_path)), ROWS[:2])
    again.add(ROWS[2])
    assert points(tmp_path) == expected(ROWS[:3])
    again.close()
    killed.close()


def test_a_finished_training_has_its_curves_in_one_file(tmp_path):
    folder = Folder(str(tmp_path))
    live = Curves(folder, ROWS[:1])
    entries = write_curves(folder, ROWS)
    live.close()
    assert [entry.name for entry in entries] == folder.names()
    assert entries == [folder.entry(name) for name in folder.names()]
    assert len(entries) == 1
    assert points(tmp_path) == expected(ROWS)


@pytest.mark.s3
def test_in_a_bucket_they_appear_with_the_output(tmp_path, s3):
    folder = Folder(f"{s3}/run/pretrain_stay")
    curves = Curves(folder, [])
    curves.add(ROWS[0])
    curves.close()
    assert folder.names() == []
    (entry,) = write_curves(folder, ROWS)
    assert isinstance(entry, Entry)
    (tmp_path / entry.name).parent.mkdir()
    (tmp_path / entry.name).write_bytes(folder.read_bytes(entry.name))
    assert points(tmp_path) == expected(ROWS)
