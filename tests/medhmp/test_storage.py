"""medhmp.storage on disk and, each test again, in a bucket and in another filesystem of fsspec."""

import errno
import hashlib
import os
import resource
import signal
import subprocess
import sys
import uuid

import numpy as np
import pyarrow as pa
import pytest

from medhmp import storage
from medhmp.refusal import Failure, Refusal, find_failure
from medhmp.replacing import room_for
from medhmp.storage import (
    COMPLETE,
    Entry,
    Folder,
    Stamp,
    Unusable,
    made_elsewhere,
    opened,
    publish,
)

BIG = b"0123456789abcdef" * (6 << 16)  # 6 MiB: more than one part of a multipart upload


@pytest.fixture(params=["disk", "memory", pytest.param("bucket", marks=pytest.mark.s3)])
def folder(request, tmp_path) -> Folder:
    if request.param == "disk":
        return Folder(str(tmp_path / "out"))
    if request.param == "memory":
        return Folder(f"memory://{uuid.uuid4().hex}/out")
    return Folder(request.getfixturevalue("s3")) / "out"


def stamp(inputs: dict[str, str] | None = None, **fields: object) -> Stamp:
    return Stamp({"epochs": 3, **fields}, inputs or {"shards": "aa"})


def written(folder: Folder, made: Stamp | None = None) -> list[Entry]:
    entries = [folder.write_bytes("b.bin", b"two"), folder.write_bytes("a/a.bin", b"one")]
    publish(folder, made or stamp(), entries)
    return entries


def write_and_fail(folder: Folder, name: str, data: bytes, error: type[BaseException]) -> None:
    with folder.create(name) as sink:
        sink.write(data)
        raise error


def test_bytes_come_back_with_their_size_and_hash(folder):
    for data in (b"", b"x", BIG):
        entry = folder.write_bytes("deep/er/file.bin", data)
        expected = Entry("deep/er/file.bin", len(data), hashlib.sha256(data).hexdigest())
        assert entry == expected
        assert folder.read_bytes("deep/er/file.bin") == data
        assert folder.size("deep/er/file.bin") == len(data)


def test_a_file_written_in_pieces_is_hashed_whole(folder):
    with folder.create("pieces") as sink:
        for piece in (b"one", memoryview(b"two"), bytearray(b"three")):
            sink.write(piece)
        assert sink.tell() == 11
    assert folder.read_bytes("pieces") == b"onetwothree"
    assert sink.written.sha256 == hashlib.sha256(b"onetwothree").hexdigest()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("data", [b"half", BIG])
def test_an_exception_while_writing_leaves_nothing(folder, error, data):
    with pytest.raises(error):
        write_and_fail(folder, "never", data, error)
    assert not folder.exists("never")
    assert folder.names() == []


def test_an_exception_while_replacing_keeps_the_old_file(folder):
    folder.write_bytes("file", b"old")
    with pytest.raises(KeyError):
        write_and_fail(folder, "file", b"new", KeyError)
    assert folder.names() == ["file"]
    assert folder.read_bytes("file") == b"old"


def test_nothing_is_visible_before_the_block_ends(folder):
    with folder.create("file") as sink:
        sink.write(BIG)
        assert not folder.exists("file")
    assert folder.exists("file")


def test_names_are_relative_and_sorted(folder):
    assert folder.names() == []
    for name in ("b", "a/z", "a/b/c", "c.parquet"):
        folder.write_bytes(name, b"-")
    assert folder.names() == ["a/b/c", "a/z", "b", "c.parquet"]
    assert (folder / "a").names() == ["b/c", "z"]


def test_what_is_absent(folder):
    assert not folder.exists()
    assert not folder.exists("file")
    assert folder.size("file") is None
    with pytest.raises(FileNotFoundError):
        folder.open("file")
    folder.remove()  # nothing to delete is no error


def test_json_and_parquet_round_trip(folder):
    folder.write_json("run.json", {"a": [1, None, "é"]})
    assert folder.read_json("run.json") == {"a": [1, None, "é"]}
    table = pa.table({"x": [1, 2, 3], "y": ["a", None, "c"]})
    entry = folder.write_parquet("t.parquet", table, row_group_size=2)
    assert folder.read_parquet("t.parquet").equals(table)
    assert folder.read_parquet("t.parquet", ["y"]).column_names == ["y"]
    again = folder.write_parquet("again.parquet", table, row_group_size=2)
    assert (again.size, again.sha256) == (entry.size, entry.sha256)


def test_remove_deletes_all_below_and_nothing_beside(folder):
    beside = Folder(f"{folder}2")
    beside.write_bytes("file", b"-")
    written(folder)
    folder.remove()
    assert folder.names() == []
    assert not folder.exists(COMPLETE)
    assert beside.names() == ["file"]


def test_an_output_is_done_once_published(folder):
    entries = [folder.write_bytes("a", b"1")]
    assert room_for(folder, stamp()) is not None
    publish(folder, stamp(), entries)
    assert room_for(folder, stamp()) is None
    record = folder.read_json(COMPLETE)
    assert record["hash"] == stamp().hash
    assert record["files"] == [{"name": "a", "size": 1, "sha256": hashlib.sha256(b"1").hexdigest()}]


def test_the_record_does_not_depend_on_the_order_of_writing(folder):
    entries = written(folder)
    first = folder.read_bytes(COMPLETE)
    publish(folder, stamp(), entries[::-1])
    assert folder.read_bytes(COMPLETE) == first


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (stamp(epochs=4), "epochs was 3, is 4"),
        (stamp(width=64), "width was None, is 64"),
        (stamp(inputs={"shards": "bb"}), "its input shards has changed"),
    ],
)
def test_an_output_of_another_run_is_refused(folder, other, difference):
    written(folder)
    with pytest.raises(Refusal) as refused:
        room_for(folder, other)
    assert str(refused.value) == (
        f"{folder} holds an output of another run ({difference}); "
        "pass --overwrite to replace it, or another --out"
    )
    assert room_for(folder, stamp()) is None  # a refusal changes nothing


@pytest.mark.parametrize("damage", [b"tw", b"tow", None], ids=["shorter", "other", "missing"])
def test_a_damaged_output_is_refused(folder, damage):
    written(folder)
    if damage is None:
        folder.delete("b.bin")
    else:
        folder.write_bytes("b.bin", damage)
    with pytest.raises(
        Refusal, match=r"is damaged: b\.bin is missing or not what was written; pass"
    ):
        room_for(folder, stamp())


def test_only_so_many_bytes_are_hashed_and_small_files_first(folder, monkeypatch):
    monkeypatch.setattr(storage, "HASHED", 4)
    publish(folder, stamp(), [folder.write_bytes("a", b"large"), folder.write_bytes("b", b"few")])
    folder.write_bytes("a", b"LARGE")
    assert room_for(folder, stamp()) is None
    folder.write_bytes("b", b"FEW")
    with pytest.raises(Refusal, match=r"is damaged: b is missing"):
        room_for(folder, stamp())


@pytest.mark.parametrize("cut", [0, 20, -3])
def test_a_torn_record_is_none(folder, cut):
    """Then the stage is made again, as after an interruption, and nobody reads what is there."""
    entries = written(folder)
    folder.write_bytes(COMPLETE, folder.read_bytes(COMPLETE)[:cut])
    assert room_for(folder, stamp()) is not None
    with pytest.raises(Refusal, match=r"missing or not whole; run jobs\.featurize first"):
        opened(folder, "featurize")
    publish(folder, stamp(), entries)
    assert room_for(folder, stamp()) is None


@pytest.mark.parametrize("record", [{}, [], {"hash": "", "fields": {}, "inputs": {}, "files": [1]}])
def test_a_record_of_another_form_is_none(folder, record):
    folder.write_json(COMPLETE, record)
    assert room_for(folder, stamp()) is not None


def test_what_is_read_of_an_output_is_what_was_published(folder):
    table = pa.table({"x": [1, 2], "y": ["a", "b"]})
    files = [folder.write_json("run.json", {"a": 1}), folder.write_parquet("t.parquet", table)]
    publish(folder, stamp(), files)
    output = opened(folder, "featurize")
    assert output.read_json("run.json") == {"a": 1}
    assert output.read_parquet("t.parquet", ["y"]).equals(table.select(["y"]))
    folder.write_json("run.json", {"a": 2})
    folder.delete("t.parquet")
    folder.write_bytes("later", b"")
    for name in ("run.json", "t.parquet", "later"):
        with pytest.raises(Refusal, match=f"is damaged: {name} is missing or not what was written"):
            output.read_bytes(name)


def test_an_output_made_with_other_fields_is_refused(folder):
    written(folder)
    output = opened(folder, "featurize")
    output.check({"epochs": 3}, "featurize")
    with pytest.raises(Refusal) as refused:
        output.check({"epochs": 4}, "featurize")
    assert str(refused.value) == (
        f"{folder} was made with epochs 3 and this run has 4; "
        "give the same --epochs, or run jobs.featurize again with --overwrite"
    )
    with pytest.raises(Refusal, match="made with width None and this run has 64"):
        output.check({"epochs": 3, "width": 64}, "featurize")


def test_fingerprint_follows_content_alone(folder):
    first, second, third = (folder / name for name in "123")
    written(first)
    written(second, stamp(epochs=9))
    publish(third, stamp(), [third.write_bytes("b.bin", b"too")])
    assert opened(first, "featurize").fingerprint == opened(second, "featurize").fingerprint
    assert opened(first, "featurize").fingerprint != opened(third, "featurize").fingerprint


@pytest.fixture
def made_by(monkeypatch):
    """Makes storage believe that this code has another version or commit."""
    here = {"version": "0.1.0", "commit": "a" * 40}

    def pretend(**other: str | None) -> None:
        monkeypatch.setattr(storage, "provenance", lambda: {**here, **other})

    pretend()
    return pretend


def test_an_output_tells_where_it_comes_from_and_that_decides_nothing(folder, made_by):
    written(folder)
    first = opened(folder, "a_job")
    assert first.provenance == {"version": "0.1.0", "commit": "a" * 40}
    made_by(version="9", commit="b" * 40)
    assert room_for(folder, stamp()) is None
    folder.remove()
    written(folder)
    again = opened(folder, "a_job")
    assert again.provenance["version"] == "9"
    assert (again.hash, again.fingerprint) == (first.hash, first.fingerprint)


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({}, ""),
        ({"commit": None}, ""),  # an installed copy of the same version
        ({"version": "0.2.0"}, " (made by version 0.1.0, commit aaaaaaaaaaaa)"),
        ({"commit": "b" * 40}, " (made by version 0.1.0, commit aaaaaaaaaaaa)"),
    ],
)
def test_an_output_of_another_version_of_this_code_is_told(folder, made_by, now, said):
    written(folder)
    made_by(**now)
    assert made_elsewhere(folder) == said


@pytest.mark.parametrize("part", ["fields", "inputs", "files", "provenance"])
def test_a_value_altered_anywhere_in_a_record_is_noticed(folder, part):
    written(folder)
    record = folder.read_json(COMPLETE)
    if part == "files":
        record[part][0]["name"] = "b.bin"
    else:
        record[part]["new"] = 1
    folder.write_json(COMPLETE, record)
    with pytest.raises(Refusal, match=r"complete\.json is not what was written; run jobs\.a_job"):
        opened(folder, "a_job")
    with pytest.raises(Refusal, match=r"pass --overwrite to make it again"):
        room_for(folder, stamp())


def test_fingerprint_of_what_is_not_whole_names_the_job_that_makes_it(folder):
    folder.write_bytes("a", b"1")
    with pytest.raises(Refusal, match=r"is missing or not whole; run jobs\.featurize first"):
        opened(folder, "featurize")


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("gopher://host/run", "is neither a local folder nor a place that fsspec knows"),
        ("gs://bucket/run", "'gs://bucket/run/part' cannot be opened here: please install gcsfs"),
        ("s3://BUCKET WITH BLANKS/run", "is not a place this can read or write: a bucket's name"),
        ("s3:/bucket/run", "one slash behind its colon; write s3://bucket/run"),
        ("s3://bucket/run?region=eu-west-1", "followed by an option, [?]region, which is not read"),
    ],
)
def test_a_place_that_is_none_is_refused(uri, reason):
    with pytest.raises(Refusal, match=reason):
        (Folder(uri) / "part").exists("file")


def test_a_file_in_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"-")
    with pytest.raises(Refusal, match="cannot list under"):
        Folder(str(tmp_path / "file")).names()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"-")
    with pytest.raises(Refusal, match="cannot write under"):
        Folder(str(tmp_path / "file" / "out")).write_bytes("a", b"1")


def test_a_disk_that_fails_at_the_rename_leaves_nothing(tmp_path, monkeypatch):
    def full(source: str, target: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(Failure, match="No space left"):
        Folder(str(tmp_path)).write_bytes("a", b"1")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_no_file_and_goes_once_the_output_is_whole(tmp_path):
    killed = f"""
import os, signal
from medhmp.storage import Folder
with Folder({str(tmp_path)!r}).create("records/one.json") as sink:
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", killed], check=False).returncode == -signal.SIGKILL
    assert [path.name[:9] for path in (tmp_path / "records").iterdir()] == [".one.json"]
    assert Folder(str(tmp_path)).names() == []
    publish(Folder(str(tmp_path)), stamp(), [])
    assert not list((tmp_path / "records").iterdir())


@pytest.mark.s3
def test_a_bucket_that_is_not_there_is_refused(s3):
    with pytest.raises(Refusal, match="is in no bucket that exists at http"):
        Folder(f"{s3}-absent/run").write_bytes("a", b"1")


@pytest.mark.s3
@pytest.mark.parametrize(
    "name", ["mimic iii", "Daten für [1]", "a+b&c", "no #1", "1 % of {all}", "a*b~c"]
)
def test_a_key_may_have_any_character(s3, name):
    place = Folder(f"{s3}/{name}")
    place.write_bytes("1.4/a b", b"1")
    place.write_bytes("what%3F?/a%20b", b"2")
    assert (place / "1.4").names() == ["a b"]
    assert place.read_bytes("1.4/a b") == b"1"
    assert (place / "what%3F?").entries() == {"a%20b": False}
    place.copy("1.4/a b", place / "what%3F?")
    assert sorted(place.names()) == ["1.4/a b", "what%3F?/1.4/a b", "what%3F?/a%20b"]
    (place / "what%3F?").remove()
    assert place.entries() == {"1.4": True}


@pytest.mark.s3
def test_an_escaped_key_is_the_same_place(s3):
    Folder(f"{s3}/mimic iii").write_bytes("a", b"1")
    assert Folder(f"{s3}/mimic%20iii").read_bytes("a") == b"1"


def test_local_folders_are_absolute_and_know_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert Folder("runs").path("a") == str(tmp_path / "runs" / "a")
    assert Folder("~/runs").path() == "/home/someone/runs"
    assert Folder("file:///tmp/a%20b").path("c") == "/tmp/a b/c"
    assert Folder("runs").is_same(Folder(f"file://{tmp_path}/runs/"))


@pytest.mark.s3
def test_a_place_in_a_bucket_is_known_to_be_there_before_it_is_used(s3):
    place = Folder(f"{s3}/run")
    place.check_access(writes=True)
    assert place.names() == []  # the probe has gone
    with pytest.raises(Unusable, match=f"there is nothing at '{s3}/run'; check the key"):
        place.check_access()
    place.write_bytes("a", b"1")
    place.check_access()
    with pytest.raises(Unusable, match=r"'s3://medhmp-nowhere/run' is in no bucket that"):
        Folder("s3://medhmp-nowhere/run").check_access(writes=True)


@pytest.mark.parametrize("text", [b"", b"{", b"\x00\xff", b"[" * 100_000, b'{"a": ' * 100_000])
def test_a_torn_file_is_refused_by_its_name_and_a_torn_record_is_none(folder, text):
    folder.write_record("cell.json", {"loss": 0.1, "rows": [{"seed": 0}]})
    assert folder.read_record("cell.json") == {"loss": 0.1, "rows": [{"seed": 0}]}
    folder.write_bytes("cell.json", text)
    assert folder.read_record("cell.json") is None
    assert folder.read_record("another.json") is None
    with pytest.raises(Refusal, match=r"^'[^\n]*/cell\.json' is no JSON: [^\n]*$"):
        folder.read_json("cell.json")


def test_a_record_whose_content_was_altered_is_none(folder):
    folder.write_record("cell.json", {"loss": 0.1})
    folder.write_bytes("cell.json", folder.read_bytes("cell.json").replace(b"0.1", b"0.2"))
    assert folder.read_record("cell.json") is None


def test_a_published_file_is_hashed_again_once_it_has_changed(folder):
    table = pa.table({"x": list(range(1000))})
    publish(folder, stamp(), [folder.write_parquet("t.parquet", table)])
    output = opened(folder, "featurize")
    for _ in range(2):
        assert output.read_parquet("t.parquet").equals(table)
    whole = folder.read_bytes("t.parquet")
    for bit in range(0, 8 * len(whole), 997 if folder.is_local else 9973):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        folder.write_bytes("t.parquet", bytes(data))
        with pytest.raises(Refusal, match=r"is damaged: t\.parquet is missing or not what"):
            output.read_parquet("t.parquet", ["x"])


def test_an_output_with_a_file_of_another_size_is_not_opened(folder):
    written(folder)
    folder.write_bytes("b.bin", b"longer than it was")
    with pytest.raises(Refusal, match=r"b\.bin is missing or not what was .*jobs\.featurize again"):
        opened(folder, "featurize")


@pytest.fixture
def room(tmp_path):
    """``room(bytes)``: no file may be larger until the test ends."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 1, 5000, 100_000])
def test_a_file_that_finds_no_room_is_a_failure_in_one_sentence(tmp_path, room, size):
    folder = Folder(str(tmp_path / "out"))
    table = pa.table({"x": np.random.default_rng(0).random(100_000)})
    folder.write_bytes("before", b"")
    for write in (
        lambda: folder.write_bytes("file", bytes(200_000)),
        lambda: folder.write_parquet("file", table),
    ):
        room(size)
        with pytest.raises(Failure, match=r"^cannot write '[^\n]*/out/file' \(File too large\); "):
            write()
        room(resource.RLIM_INFINITY)
        assert folder.sizes() == {"before": 0}
        write()
        folder.delete("file")


@pytest.fixture
def tiny_disk(tmp_path):
    """A disk of 64 KiB; skips where none may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_and_a_read_only_one_are_told_with_their_place(tiny_disk):
    folder = Folder(str(tiny_disk / "out"))
    folder.write_bytes("small", bytes(1000))
    with pytest.raises(Failure, match=r"/out/large' \(No space left .*of 65,536 bytes are free"):
        folder.write_bytes("large", bytes(100_000))
    assert folder.sizes() == {"small": 1000}
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    with pytest.raises(Unusable, match=r"cannot write under .*Read-only file system"):
        folder.write_bytes("small", b"")
    with pytest.raises(OSError, match="Read-only") as caught:
        folder.delete("small")
    said = str(find_failure(caught.value, folder.uri))
    assert said.startswith(f"cannot write '{folder.uri}/small'")
    assert "(Read-only file system); check that you may write it" in said
