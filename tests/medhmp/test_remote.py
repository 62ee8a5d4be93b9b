"""Object storage as users have it: credentials from anywhere, stores that fail, denied places."""

import json
import os
import time

import boto3
import numpy as np
import pyarrow as pa
import pytest
from fsspec.config import conf, set_conf_env

from medhmp import patience, remote
from medhmp.refusal import Failure
from medhmp.storage import Folder, Unusable
from tests.conftest import MOTO_PORT

pytestmark = pytest.mark.s3

LARGE = bytes(range(256)) * (3 * remote.PART // 256 + 7)  # four parts


@pytest.fixture
def moto(request, _s3_server):
    """The endpoint of the session's moto server, which has STS and policies; skips without it."""
    if MOTO_PORT not in request.config.stash:
        pytest.skip("needs moto's STS; the environment brings another endpoint")
    return os.environ["AWS_ENDPOINT_URL"]


def client(**more):
    return boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], **more)


def bucket_of(uri):
    return uri.removeprefix("s3://").partition("/")[0]


def uploads(uri):
    """Uploads of a bucket that are neither complete nor aborted."""
    return client().list_multipart_uploads(Bucket=bucket_of(uri)).get("Uploads", [])


def table(rows=50_000):
    return pa.table({f"x{i}": np.random.default_rng(i).random(rows) for i in range(3)})


# ---- uploads


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_in_the_middle_of_a_large_upload_leaves_neither_object_nor_parts(s3, error):
    folder = Folder(f"{s3}/run")
    folder.write_bytes("file", b"old")

    def write() -> None:
        with folder.create("file") as sink:
            sink.write(LARGE)
            assert uploads(s3)  # parts are on their way
            raise error

    with pytest.raises(error):
        write()
    assert folder.read_bytes("file") == b"old"
    assert uploads(s3) == []


def test_a_large_object_is_written_in_parts_and_read_in_ranges(s3):
    folder = Folder(f"{s3}/run")
    entry = folder.write_bytes("large", LARGE)
    assert (entry.size, folder.size("large")) == (len(LARGE), len(LARGE))
    assert folder.read_bytes("large", entry.size) == folder.read_bytes("large") == LARGE
    with folder.open("large") as source:
        source.seek(len(LARGE) - 5)
        assert source.read(99) == LARGE[-5:]


# ---- stores that fail


def test_a_store_that_fails_now_and_then_loses_nothing(s3, faulty):
    folder, content = Folder(f"{s3}/run"), table()
    with faulty(rate=0.2, seed=3) as faults:
        for n in range(10):
            folder.write_bytes(f"small/{n}", b"%d" % n)
        folder.write_bytes("large", LARGE)
        folder.write_parquet("t.parquet", content, row_group_size=5000)
        assert (folder / "small").names() == sorted(map(str, range(10)))
        assert [folder.read_bytes(f"small/{n}") for n in range(10)] == [
            b"%d" % n for n in range(10)
        ]
        assert folder.read_bytes("large", len(LARGE)) == LARGE
        assert folder.read_parquet("t.parquet").equals(content)
        assert folder.read_parquet("t.parquet", ["x1"]).equals(content.select(["x1"]))
        (folder / "small").remove()
        assert folder.names() == ["large", "t.parquet"]
        assert set(faults.made) >= {"500", "503", "reset"}
    assert uploads(s3) == []


def test_an_outage_is_said_and_waited_for(s3, faulty, monkeypatch, capsys):
    monkeypatch.setattr(patience, "SILENT", 0.5)
    folder = Folder(f"{s3}/run")
    with faulty() as faults:
        faults.fail_for(2)
        begun = time.monotonic()
        folder.write_bytes("a", b"1")
        assert time.monotonic() - begun >= 2
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith(f"{s3}/run/a: no good answer for ")
    assert "(503 SlowDown); asking again for up to 120 s" in said[0]
    assert folder.read_bytes("a") == b"1"


@pytest.mark.parametrize("work", ["write_bytes", "open"])
def test_a_store_that_does_not_come_back_is_given_up_in_one_sentence(s3, faulty, monkeypatch, work):
    monkeypatch.setenv(patience.VARIABLE, "1")
    folder = Folder(f"{s3}/run")
    with faulty() as faults:
        faults.fail_for(60)
        begun = time.monotonic()
        with pytest.raises(
            Failure, match=r"^[^\n]+503[^\n]*run the same command again once[^\n]+$"
        ):
            getattr(folder, work)(*(("a", b"") if work == "write_bytes" else ("a",)))
        assert 1 <= time.monotonic() - begun < 5


def test_no_store_at_all_is_told_with_its_address(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with patience.hasty(0.5), pytest.raises(Failure, match=r"gave no good answer .*Connection"):
        Folder("s3://bucket/run").names()


# ---- refusals


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("AccessDenied", 403, "the permission is denied (credentials from env); ask for s3:PutOb"),
        ("InvalidAccessKeyId", 403, "the store does not know the access key id (credentials from"),
        ("SignatureDoesNotMatch", 403, "the secret key is not that of the access key id"),
        ("ExpiredToken", 400, "the session token is no longer valid (credentials from env); renew"),
        ("PermanentRedirect", 301, "not in the region us-east-1 (PermanentRedirect); set AWS_REG"),
        ("AuthorizationHeaderMalformed", 400, "not in the region us-east-1"),
        ("MissingContentLength", 411, "takes no checksum behind a body (411); set AWS_REQUEST_CHE"),
        ("RequestTimeTooSkewed", 403, "the clocks of this machine and of the store differ"),
        ("NoSuchBucket", 404, "is in no bucket that exists at http"),
        ("KMS.DisabledException", 400, "its key in KMS cannot be used, KMS.DisabledException"),
        ("NotImplemented", 501, "NotImplemented (credentials from env); check the place"),
    ],
)
def test_what_a_store_answers_is_final_and_named(s3, faulty, code, status, said):
    with faulty() as faults:
        faults.answers = (status, code)
        with pytest.raises(Unusable) as refused:
            Folder(f"{s3}/run").write_bytes("a", b"1")
        assert faults.asked == (2 if status == 301 else 1)  # once more in the region it names
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in str(refused.value)


def test_a_profile_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_PROFILE", "absent")
    with pytest.raises(
        Unusable, match=r"cannot be had from the profile absent \(ProfileNotFound\)"
    ):
        Folder("s3://bucket/run").names()


# ---- where credentials come from


@pytest.fixture
def profile(monkeypatch, tmp_path):
    """``profile(config)``: an environment that says nothing of AWS but where its files are.

    ``{key}``, ``{secret}``, ``{token}``, ``{endpoint}`` stand for those of the session.
    """
    names = ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "ENDPOINT_URL")
    values = [os.environ.get(f"AWS_{name}", "") for name in names]
    known = dict(zip(("key", "secret", "token", "endpoint"), values, strict=True))

    def write(config: str, name: str | None = None) -> None:
        for variable in [v for v in os.environ if v.startswith("AWS_") and "CHECKSUM" not in v]:
            monkeypatch.delenv(variable)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        (tmp_path / "config").write_text(config.format(**known))
        if name:
            monkeypatch.setenv("AWS_PROFILE", name)

    return write


KEYS = "aws_access_key_id = {key}\naws_secret_access_key = {secret}\naws_session_token = {token}\n"


def use(folder):
    """Writes, lists, and reads both whole and by ranges, which another client does."""
    content = table(100)
    folder.write_parquet("t.parquet", content)
    assert folder.names() == ["t.parquet"]
    assert pa.BufferReader(folder.read_bytes("t.parquet")).size() > 0
    assert folder.read_parquet("t.parquet", ["x1"]).equals(content.select(["x1"]))


@pytest.mark.parametrize("name", [None, "work"])
def test_a_profile_with_its_endpoint(s3, profile, name):
    title = f"profile {name}" if name else "default"
    profile(f"[{title}]\nregion = us-east-1\nendpoint_url = {{endpoint}}\n{KEYS}", name)
    use(Folder(f"{s3}/run"))
    assert isinstance(remote.opened(f"{s3}/run/t.parquet"), pa.PythonFile)


def test_a_role_of_another_profile_and_its_renewal(moto, s3, profile):
    profile(
        f"[profile base]\nendpoint_url = {{endpoint}}\n{KEYS}[profile role]\nregion = us-east-1\n"
        "role_arn = arn:aws:iam::123456789012:role/reader\nsource_profile = base\n"
        "duration_seconds = 900\n"  # which botocore renews whenever it is asked
        "endpoint_url = {endpoint}\n",
        "role",
    )
    use(Folder(f"{s3}/run"))
    fs = remote.s3()
    first = remote._frozen(fs)
    assert remote._source_of(fs) == "assume-role"
    with remote.opened(f"{s3}/run/t.parquet") as source:
        source.read(8)
        assert remote._frozen(fs) != first  # STS was asked again
        source.read(8)
    assert remote.arrow_s3(bucket_of(s3)) is not remote.arrow_s3(bucket_of(s3))
    use(Folder(f"{s3}/run"))


def test_a_public_bucket_needs_no_credentials(s3, profile, faulty):
    folder = Folder(f"{s3}/run")
    use(folder)
    own = client()
    own.put_bucket_acl(Bucket=bucket_of(s3), ACL="public-read")
    own.put_object_acl(Bucket=bucket_of(s3), Key="run/t.parquet", ACL="public-read")
    with faulty() as faults:
        profile("[default]\nregion = us-east-1\nendpoint_url = " + faults.url)
        assert folder.names() == ["t.parquet"]
        assert folder.read_parquet("t.parquet").equals(table(100))
        assert len(folder.read_bytes("t.parquet")) > 0
        faults.answers = (403, "AccessDenied")
        with pytest.raises(
            Unusable, match=r"denied \(no credentials were found\); set them in the"
        ):
            folder.write_bytes("a", b"1")
    assert not any("Authorization" in headers for _, _, headers in faults.requests)


@pytest.fixture
def options(monkeypatch):
    """``options(...)``: what FSSPEC_S3 says."""

    def say(**given):
        found = {}
        set_conf_env(found, {"FSSPEC_S3": json.dumps(given)})
        monkeypatch.setitem(conf, "s3", found["s3"])

    return say


def test_keys_of_kms_are_named_with_each_write_and_ranges_read_as_ever(moto, s3, faulty, options):
    options(s3_additional_kwargs={"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/own"})
    with faulty() as faults:
        use(Folder(f"{s3}/run"))
        Folder(f"{s3}/run").write_bytes("large", LARGE)
    begun = ("PUT", "POST")  # an object at once, an upload of parts
    writes = [h for method, path, h in faults.requests if method in begun and "Id=" not in path]
    assert len(writes) == 2
    assert {h["x-amz-server-side-encryption-aws-kms-key-id"] for h in writes} == {"alias/own"}
    made = client().head_object(Bucket=bucket_of(s3), Key="run/large")
    assert made["ServerSideEncryption"] == "aws:kms"


def test_a_requester_pays_with_every_request(s3, faulty, options):
    options(requester_pays=True)
    with faulty() as faults:
        use(Folder(f"{s3}/run"))
        Folder(f"{s3}/run").check_access(writes=True)
    assert len(faults.requests) >= 5
    assert all(h.get("x-amz-request-payer") == "requester" for _, _, h in faults.requests)
