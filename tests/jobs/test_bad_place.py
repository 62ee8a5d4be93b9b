"""Places in object storage that are wrong, told before any work; and those that fail meanwhile."""

import re
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from jobs import featurize
from medhmp import command, patience, ray_session
from medhmp.layout import SHARDS
from medhmp.refusal import Refusal
from medhmp.run import Run
from medhmp.storage import COMPLETE, Folder

pytestmark = pytest.mark.s3


@pytest.fixture
def exits(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """``exits(...)``: exit status and stderr of featurize, which ends where its Ray would start."""

    def begin(*_: Any, **__: Any) -> NoReturn:
        raise Refusal("it has begun")

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(ray_session, "start_ray", begin)
        monkeypatch.setattr(sys, "argv", ["jobs/featurize.py", "smoke", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            command.main(None, begin, featurize.READS, needs_shards=False)
        return int(ended.value.code or 0), capfd.readouterr().err

    return run


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            (403, "AccessDenied"),
            r"cannot write '.*/run': the permission is denied \(credentials fr",
        ),
        ((403, "InvalidAccessKeyId"), "the store does not know the access key id"),
        ((403, "SignatureDoesNotMatch"), "the secret key is not that of the access key id"),
        ((301, "PermanentRedirect"), "its bucket is not in the region us-east-1 .* set AWS_REGION"),
        ((411, "MissingContentLength"), "set AWS_REQUEST_CHECKSUM_CALCULATION"),
        ((503, "SlowDown"), "gave no good answer for 3 s .503 SlowDown.*check AWS_ENDPOINT_URL"),
    ],
    ids=lambda given: given[1] if isinstance(given, tuple) else "",
)
def test_a_store_that_will_not_is_told_before_any_work(
    s3: str, faulty: Any, exits: Callable[..., Any], answer: tuple[int, str], said: str
) -> None:
    with faulty() as faults:
        faults.answers = answer
        begun = time.monotonic()
        status, printed = exits("--out", f"{s3}/run")
        assert time.monotonic() - begun < 5
    assert status == 2
    assert printed.count("\n") == 1
    assert re.search(said, printed), printed


def test_a_wrong_bucket_and_a_wrong_key_are_told_and_a_right_one_with_a_space_is_not(
    s3: str, exits: Callable[..., tuple[int, str]]
) -> None:
    status, printed = exits("--out", "s3://medhmp-nowhere/run")
    assert status == 2
    assert "'s3://medhmp-nowhere/run' is in no bucket that exists at http" in printed
    source = f"mimic3={s3}/mimic iii"
    status, printed = exits("--out", f"{s3}/run", "--tables.sources", source)
    assert status == 2
    assert f"there is nothing at '{s3}/mimic iii'; check the key" in printed
    assert Folder(s3).names() == []  # neither a probe nor a lease is left
    Folder(f"{s3}/mimic iii").write_bytes("ADMISSIONS.csv", b"")
    assert "it has begun" in exits("--out", f"{s3}/a run", "--tables.sources", source)[1]


def test_featurize_survives_faults_and_an_outage_with_the_same_shards(
    featurized: Run, start_job: Callable[..., Any], s3: str, faulty: Any
) -> None:
    """Of a hundred requests five fail, in each of the ways; then the store is gone for a while."""
    place, raw = Folder(f"{s3}/run"), Folder(f"{featurized.out}/raw")
    for name in (*(n for n in raw.names() if n != COMPLETE), COMPLETE):
        (place / "raw").write_bytes(name, raw.read_bytes(name))
    with faulty(rate=0.05) as faults:
        job = start_job("featurize", place.uri, "--no-quiet")
        while job.process.poll() is None and faults.asked < 150:
            time.sleep(0.05)
        faults.fail_for(6)
        status, out, err = job.ended()
        assert status == 0, err
        assert set(faults.made) >= {"500", "503"}
    told = re.search(r"in all, ([\d,]+) requests to object storage \(([\d,]+) repeated\)", out)
    assert told, out
    assert int(told[2].replace(",", "")) > 10
    assert f"asking again for up to {patience.LIMIT:.0f} s" in out + err
    shards = (Folder(featurized.out) / SHARDS, place / SHARDS)
    files = [folder.read_json(COMPLETE)["files"] for folder in shards]
    assert files[0] == files[1]
