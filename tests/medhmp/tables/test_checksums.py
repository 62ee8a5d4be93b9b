"""SHA256SUMS.txt beside raw tables: files that it names are those that were published."""

import hashlib

import pytest

from medhmp.refusal import Refusal
from medhmp.storage import Folder
from medhmp.tables.checksums import check

FILES = {"ADMISSIONS.csv.gz": b"one", "icu/icustays.csv.gz": b"two", "unpacked.csv": b"three"}


@pytest.fixture
def folder(tmp_path):
    folder = Folder(str(tmp_path))
    for name, content in FILES.items():
        folder.write_bytes(name, content)
    return folder


def listed(folder, names, form="{} {}\n"):
    lines = [form.format(hashlib.sha256(FILES[name]).hexdigest(), name) for name in names]
    folder.write_bytes("SHA256SUMS.txt", "".join(lines).encode())


@pytest.mark.parametrize("form", ["{} {}\n", "{}  {}\r\n", "{} *{}\n", "{}  ./{}\n"])
def test_files_of_the_list_are_compared_and_others_left_alone(folder, form):
    assert check(folder, FILES) == ""
    listed(folder, ["ADMISSIONS.csv.gz", "icu/icustays.csv.gz"], form)
    assert check(folder, FILES).startswith("2 files as SHA256SUMS.txt has them, 0.0 GiB in ")
    assert check(folder, ["unpacked.csv"]) == ""
    folder.write_bytes("icu/icustays.csv.gz", b"twO")
    assert check(folder, ["ADMISSIONS.csv.gz"]).startswith("1 file as")
    with pytest.raises(Refusal, match=r"icu/icustays\.csv\.gz' is not as published: its SHA-256"):
        check(folder, FILES)


@pytest.mark.parametrize("text", [b"", b"\0" * 100, b"<html>404</html>"])
def test_a_list_that_is_none_is_refused(folder, text):
    folder.write_bytes("SHA256SUMS.txt", text)
    with pytest.raises(Refusal, match=r"SHA256SUMS\.txt' has no line with a SHA-256 and a name"):
        check(folder, FILES)
