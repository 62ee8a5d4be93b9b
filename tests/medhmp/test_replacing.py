"""Outputs replaced under --overwrite, on disk and in a bucket, cut off at every step of it."""

import json

import pytest

from medhmp import replacing
from medhmp.refusal import Refusal
from medhmp.replacing import beside, move_in, room_for
from medhmp.storage import COMPLETE, Folder, Output, Stamp, publish

OLD, NEW = Stamp({"epochs": 3}, {}), Stamp({"epochs": 4}, {})


@pytest.fixture(params=["disk", pytest.param("bucket", marks=pytest.mark.s3)])
def folder(request, tmp_path) -> Folder:
    if request.param == "disk":
        return Folder(str(tmp_path / "out"))
    return Folder(request.getfixturevalue("s3")) / "out"


def make(folder: Folder, stamp: Stamp) -> None:
    text = json.dumps(dict(stamp.fields)).encode()
    publish(folder, stamp, [folder.write_bytes(name, text) for name in ("a", "deep/b")])


def test_without_an_output_it_is_made_in_its_place(folder):
    assert room_for(folder, NEW) == room_for(folder, NEW, overwrite=True) == folder


def test_a_whole_output_of_the_same_run_is_kept(folder):
    make(folder, OLD)
    assert room_for(folder, OLD) is room_for(folder, OLD, overwrite=True) is None


def test_another_run_s_output_is_refused_or_replaced_when_the_new_one_is_whole(folder):
    make(folder, OLD)
    folder.write_bytes("checkpoints/old", b"no longer wanted")
    with pytest.raises(Refusal, match="epochs was 3, is 4"):
        room_for(folder, NEW)
    room = room_for(folder, NEW, overwrite=True)
    room.write_bytes("a", b"half of it")
    move_in(folder)  # nothing to move: it is not whole
    assert room_for(folder, OLD) is None
    make(room, NEW)
    move_in(folder)
    assert room_for(folder, NEW) is None
    assert folder.names() == ["a", COMPLETE, "deep/b"]
    assert room.names() == []


def test_a_damaged_output_is_replaced(folder):
    make(folder, OLD)
    folder.write_bytes("a", b"other")
    assert room_for(folder, OLD, overwrite=True) == beside(folder)


@pytest.mark.parametrize("resumes", [True, False])
def test_what_a_killed_replacement_has_left_goes_on_or_is_removed(folder, resumes):
    make(folder, OLD)
    room = room_for(folder, NEW, overwrite=True)
    room.write_bytes("checkpoints/1", b"-")
    assert room_for(folder, NEW, overwrite=True, resumes=resumes) == room
    assert room.names() == (["checkpoints/1"] if resumes else [])
    room.write_bytes("checkpoints/1", b"-")
    assert room_for(folder, OLD, resumes=resumes) is None  # given up: the old one was wanted
    assert room.names() == []
    assert room_for(folder, OLD) is None


class Killed(BaseException):
    """The end of the process between two calls to the storage."""


def test_killed_at_any_step_the_old_one_or_the_new_one_is_whole_and_it_goes_on(folder, monkeypatch):
    """Cuts the move off before each of its changes to the storage, one after another."""
    changes = [
        (replacing.os, "rename"),
        (Folder, "remove"),
        (Folder, "resolve"),  # before each copy in a bucket
    ]
    killed = 0
    for step in range(100):
        for place in (folder, beside(folder), Folder(f"{folder}.old")):
            place.remove()
        make(folder, OLD)
        make(room_for(folder, NEW, overwrite=True), NEW)
        left = step

        def cut(original):
            def call(*arguments, **named):
                nonlocal left
                if left == 0:
                    raise Killed
                left -= 1
                return original(*arguments, **named)

            return call

        with monkeypatch.context() as patch:
            for owner, name in changes:
                patch.setattr(owner, name, cut(getattr(owner, name)))
            try:
                move_in(folder)
            except Killed:
                killed += 1
        stamps = {o.hash for o in map(Output.of, (folder, beside(folder))) if o and not o.damaged()}
        assert stamps & {OLD.hash, NEW.hash}
        assert room_for(folder, NEW, overwrite=True) is None
        assert room_for(folder, NEW) is None
        assert beside(folder).names() == Folder(f"{folder}.old").names() == []
        if left:
            break
    assert killed > 3
