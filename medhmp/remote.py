"""Object storage behind a URI: its filesystem of fsspec, and Arrow's reader of S3 beside it.

Everything but S3 is what the user's packages make of it. For S3, botocore finds credentials,
region and endpoint where the AWS tools look. By them s3fs lists, writes and reads whole objects,
and Arrow's own client, which is faster at them, reads ranges, unless an option is set that it does
not have. Options that AWS has no variable for, such as ``requester_pays`` and
``s3_additional_kwargs`` (SSE-KMS), are given to fsspec: ``FSSPEC_S3='{"requester_pays": true}'``.
"""

import functools
import io
import os
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.fs as pafs

from medhmp import patience
from medhmp.refusal import Failure, Refusal
from medhmp.requests import ASKED, count

PART: Final = 16 << 20
"""Bytes of a part of an upload, held in memory until it is sent; less is one request."""
RANGE: Final = 16 << 20
"""Bytes of a range, where a large object is read by several at once."""
MANY: Final = 1000
"""Objects that one request deletes."""
S3: Final = ("s3", "s3a")

T = TypeVar("T")


class Unusable(Refusal):
    """A place that cannot be listed, read or written to, and never will as it is."""


def refuse_mistakes(uri: str) -> None:
    """Refuses a URI with options, which no place has, and one with a slash too few."""
    if re.match(r"[a-z][a-z0-9+]+:/(?!/)", uri):
        raise Refusal(
            f"'{uri}' has one slash behind its colon; write {uri.replace(':/', '://', 1)}"
        )
    if "://" in uri and (option := re.search(r"\?([^=&/]*)", uri)):
        raise Refusal(
            f"'{uri.partition('?')[0]}' is followed by an option, ?{option[1]}, which is not read "
            "from a URI; set AWS_ENDPOINT_URL, AWS_REGION or AWS_PROFILE, or FSSPEC_S3 to options "
            "of s3fs, or write %3F if the key has a question mark"
        )


@functools.cache
def _of_environment(process: int, environment: tuple[tuple[str, str], ...], options: str) -> Any:
    """The S3 filesystem of a process, of what its environment says of AWS, and of options."""
    import s3fs

    def made(anon: bool) -> Any:
        given = _options().get("config_kwargs", {})
        # Requests are asked again by ``patience`` alone.
        own = {"retries": {"mode": "standard", "total_max_attempts": 1}, "max_pool_connections": 32}
        more = {"anon": True} if anon else {}
        fs = s3fs.S3FileSystem(
            use_listings_cache=False,
            skip_instance_cache=True,
            config_kwargs={**given, **own},
            **more,
        )
        fs.retries = 2  # of answers whose text is cut short, which botocore never asks again
        fs.connect()
        return fs

    fs = made(False)
    if not fs.anon and not fs.key and _credentials(fs) is None:
        fs = made(True)  # a public bucket needs none
    events = fs.s3.meta.events
    events.register("before-send.s3", lambda **_: count(ASKED))
    events.register_first("needs-retry.s3", functools.partial(_wait, fs.s3.meta.endpoint_url))
    return fs


def _options() -> dict[str, Any]:
    """What the user has told fsspec of S3."""
    from fsspec.config import conf

    return dict(conf.get("s3", {}))


def _wait(place: str, response: Any, caught_exception: Any, **_: Any) -> float | None:
    """Seconds after which botocore is to ask again; None: what it has is final."""
    if response is not None:
        http, parsed = response
        if http.status_code < 300:
            patience.current(place).answered()
            return None
        why = _reason(parsed.get("Error", {}).get("Code", ""), http.status_code)
    else:
        why = passing(caught_exception)
    return patience.current(place).after(why) if why else None


_lock: Final = threading.Lock()


def s3() -> Any:
    """The S3 filesystem of this process's environment."""
    environment = tuple(sorted((k, v) for k, v in os.environ.items() if k.startswith("AWS_")))
    with _lock:
        try:
            return _of_environment(os.getpid(), environment, repr(_options()))
        except ImportError:
            raise Refusal("s3:// needs the package s3fs; install it: pip install s3fs") from None
        except Exception as error:
            if not _OF_STORES.match(type(error).__module__):
                raise
            raise _without_credentials(error) from None


def _credentials(fs: Any) -> Any:
    from fsspec.asyn import sync

    return sync(fs.loop, fs.session.get_credentials)


def _frozen(fs: Any) -> tuple[str | None, str | None, str | None]:
    """Key id, secret and token as they are now: botocore renews those that expire."""
    from fsspec.asyn import sync

    if fs.anon:
        return None, None, None
    if fs.key:
        return fs.key, fs.secret, fs.token
    now = sync(fs.loop, _credentials(fs).get_frozen_credentials)
    return now.access_key, now.secret_key, now.token


@functools.lru_cache(maxsize=4)
def _arrow_client(
    process: int,
    credentials: tuple[str | None, str | None, str | None],
    endpoint: str,
    region: str | None,
) -> Any:
    key, secret, token = credentials
    return pafs.S3FileSystem(
        access_key=key,
        secret_key=secret,
        session_token=token,
        anonymous=key is None,
        region=region,
        endpoint_override=endpoint or None,
        tls_ca_file_path=os.environ.get("AWS_CA_BUNDLE"),
        retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=1),
    )


def arrow_s3(bucket: str) -> Any:
    """Arrow's client with the credentials, region and endpoint that botocore has found; None where
    an option is set that it does not have."""
    fs = s3()
    headers = _options().get("s3_additional_kwargs", {})
    if fs.requester_pays or any(re.match("SSECustomer|RequestPayer", name) for name in headers):
        return None
    endpoint, region = fs.s3.meta.endpoint_url, fs.s3.meta.region_name
    is_of_aws = re.search(r"\.amazonaws\.com(\.cn)?$", endpoint) is not None
    region = _region_of(bucket, region) if is_of_aws else region
    return _arrow_client(os.getpid(), _frozen(fs), "" if is_of_aws else endpoint, region)


@functools.cache
def _region_of(bucket: str, otherwise: str | None) -> str | None:
    """The region that a bucket of AWS is in, which tells it to anybody."""
    try:
        return str(pafs.resolve_s3_region(bucket))
    except OSError:
        return otherwise


def resolve(uri: str) -> tuple[Any, str]:
    """The filesystem of fsspec and the path in it, of a URI that is not local."""
    refuse_mistakes(uri)
    protocol, _, rest = uri.partition("://")
    path = unquote(re.sub("%(?![0-9A-Fa-f]{2})", "%25", rest))
    if protocol in S3:
        bucket = path.partition("/")[0]
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}|arn:\S+", bucket):
            raise Refusal(
                f"'{uri}' is not a place this can read or write: a bucket's name has letters, "
                "digits, dots and hyphens; write s3://bucket/key"
            )
        return s3(), path.rstrip("/")
    import fsspec
    from fsspec.registry import known_implementations, registry

    if protocol not in known_implementations and protocol not in registry:
        raise Refusal(
            f"'{uri}' is neither a local folder nor a place that fsspec knows; give a folder, or "
            "s3://bucket/key"
        )
    try:
        fs, found = fsspec.core.url_to_fs(f"{protocol}://{path}", use_listings_cache=False)
    except ImportError:
        needs = known_implementations.get(protocol, {}).get(
            "err", f"install the package for {protocol}"
        )
        raise Refusal(f"'{uri}' cannot be opened here: {str(needs).rstrip('.').lower()}") from None
    except Exception as error:
        raise Unusable(
            f"'{uri}' cannot be opened ({type(error).__name__}); check its credentials and settings"
        ) from None
    return fs, str(found).rstrip("/")


def ask(uri: str, does: str, work: Callable[[], T], repeats: bool = True) -> T:
    """The result of ``work``, which asks the store of ``uri``.

    Args:
        uri: the place, named in errors.
        does: what is done there: read, list or write.
        work: may be called many times, unless ``repeats`` is false.

    Raises FileNotFoundError where there is no such object, Unusable where the store refuses, and
    Failure where it gives no good answer for as long as ``patience`` waits.
    """
    try:
        return patience.patiently(work, uri, passing if repeats else lambda _: "")
    except (Refusal, Failure):
        raise
    except FileNotFoundError as error:
        if _code(error)[0] == "NoSuchBucket":
            raise refusal(uri, does, error) from None
        raise
    except Exception as error:
        if not isinstance(error, OSError) and not _OF_STORES.match(type(error).__module__):
            raise  # a fault of ours
        if why := passing(error):
            raise Failure(
                f"cannot {does} '{uri}': its store fails ({why}); run the same command again once "
                "it is well"
            ) from error
        raise refusal(uri, does, error) from None


def _inside(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and its causes."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _code(error: BaseException) -> tuple[str, int]:
    """S3's code and the HTTP status of the answer that an error tells of; "" and 0: of none."""
    for found in _inside(error):
        response = getattr(found, "response", None)
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return str(response.get("Error", {}).get("Code", "")), int(status or 0)
    of_arrow = re.search(r"AWS Error (\w+)(?: \(HTTP status (\d+)\))?", str(error))
    if not of_arrow:
        return "", 0
    name = "".join(part.capitalize() for part in of_arrow[1].split("_"))
    return name, int(of_arrow[2] or _OF_ARROW.get(name, 0))


_OF_ARROW: Final = {
    "AccessDenied": 403,
    "InvalidAccessKeyId": 403,
    "SignatureDoesNotMatch": 403,
    "InvalidSignature": 403,
    "InvalidClientTokenId": 403,
    "RequestTimeTooSkewed": 403,
    "NoSuchBucket": 404,
    "NoSuchKey": 404,
    "ResourceNotFound": 404,
}
"""HTTP status of the errors that Arrow gives a name alone."""

_BROKEN: Final = re.compile(
    "HTTPClientError|IncompleteRead|ResponseParser|ResponseStreaming|ClientPayload|ServerDisconn|"
    "ClientOSError|ClientConnection|Timeout|ConnectionError|ConnectionReset|BrokenPipe|Truncated"
)
"""Classes of the errors of a connection that breaks, of botocore, aiohttp and Python."""


_OF_STORES: Final = re.compile(r"botocore|aiobotocore|aiohttp|s3fs|fsspec|gcsfs|adlfs|hugging")
"""Packages whose errors tell of a store."""


class Truncated(OSError):  # noqa: N818
    """A body that is shorter than what was asked for."""


def passing(error: BaseException) -> str:
    """The reason of an error that may pass, in a few words; "" for one that is final."""
    code, status = _code(error)
    if status:
        return _reason(code, status)
    if code:  # of Arrow: NETWORK_CONNECTION, SLOW_DOWN, UNKNOWN and the like
        return code
    if isinstance(error, FileNotFoundError | PermissionError | Refusal):
        return ""
    for found in _inside(error):
        for kind in type(found).__mro__:
            if _BROKEN.search(kind.__name__):
                return type(found).__name__
    return ""


def _reason(code: str, status: int) -> str:
    again = (status >= 500 and status != 501) or status in (408, 429)
    if again or code in ("SlowDown", "RequestTimeout", "Throttling", "OperationAborted"):
        return f"{status} {code}".strip()
    return ""


def refusal(uri: str, does: str, error: BaseException) -> Unusable:
    """The sentence for what a store answers: what failed, and what to do."""
    code, status = _code(error)
    fs = _known_s3() if uri.partition("://")[0] in S3 else None
    if fs is None:
        said = f"{type(error).__name__}"
        return Unusable(f"cannot {does} '{uri}' ({said}); check that it exists and that you may")
    bucket = unquote(uri.partition("://")[2].partition("/")[0])
    endpoint, region = fs.s3.meta.endpoint_url, fs.s3.meta.region_name
    source = "no credentials were found" if fs.anon else f"credentials from {_source_of(fs)}"
    if code == "NoSuchBucket":
        return Unusable(
            f"'{uri}' is in no bucket that exists at {endpoint}; make the bucket {bucket}, or "
            "check its name and AWS_ENDPOINT_URL"
        )
    if code in ("InvalidAccessKeyId", "InvalidClientTokenId"):
        why, remedy = "the store does not know the access key id", "check the key"
    elif code in ("SignatureDoesNotMatch", "InvalidSignature"):
        why, remedy = "the secret key is not that of the access key id", "check the secret"
    elif code in ("ExpiredToken", "InvalidToken", "TokenRefreshRequired"):
        why, remedy = "the session token is no longer valid", "renew the credentials"
    elif code == "RequestTimeTooSkewed":
        why, remedy = "the clocks of this machine and of the store differ", "set this machine's"
    elif status in (301, 307) or "Location" in code or code == "AuthorizationHeaderMalformed":
        return Unusable(
            f"cannot {does} '{uri}': its bucket is not in the region {region} ({code or status}); "
            "set AWS_REGION to the bucket's"
        )
    elif status == 411 or code == "MissingContentLength":
        return Unusable(
            f"cannot {does} '{uri}': the store at {endpoint} takes no checksum behind a body "
            "(411); set AWS_REQUEST_CHECKSUM_CALCULATION and AWS_RESPONSE_CHECKSUM_VALIDATION to "
            "when_required"
        )
    elif code.startswith("KMS"):
        why, remedy = f"its key in KMS cannot be used, {code}", "check the key and the right to it"
    elif status in (401, 403):
        what = {"write": "s3:PutObject and s3:DeleteObject", "list": "s3:ListBucket"}
        why = "the permission is denied"
        remedy = f"ask for {what.get(does, 's3:GetObject')} on it"
        if fs.anon:
            remedy = "set them in the environment or a profile, or give a public bucket"
    else:
        why, remedy = str(code or type(error).__name__), f"check the place and {endpoint}"
    return Unusable(f"cannot {does} '{uri}': {why} ({source}); {remedy}")


def _known_s3() -> Any:
    try:
        return s3()
    except Refusal:
        return None


def _source_of(fs: Any) -> str:
    """Where the credentials were found, as botocore calls it: env, shared-credentials-file, ..."""
    return str(getattr(_credentials(fs), "method", None) or "the options of fsspec")


def _without_credentials(error: Exception) -> Unusable:
    """The sentence for credentials that botocore cannot get: it names no secret."""
    name = type(error).__name__
    profile = os.environ.get("AWS_PROFILE")
    where = f"the profile {profile}" if profile else "the environment and the default profile"
    return Unusable(
        f"the credentials for S3 cannot be had from {where} ({name}); check AWS_PROFILE, "
        "~/.aws/config, and a login that may have expired (aws sso login)"
    )


def delete(uri: str, fs: Any, paths: list[str]) -> None:
    """Deletes objects of one bucket, ``MANY`` with one request where the store can do that."""
    if uri.partition("://")[0] not in S3:
        for path in paths:
            ask(uri, "write", functools.partial(fs.rm_file, path))
        return
    for at in range(0, len(paths), MANY):
        split = [fs.split_path(path) for path in paths[at : at + MANY]]
        objects = [{"Key": key} for _, key, _ in split]
        given = {"Bucket": split[0][0], "Delete": {"Objects": objects, "Quiet": True}}
        answer = ask(uri, "write", functools.partial(fs.call_s3, "delete_objects", **given))
        if errors := answer.get("Errors"):
            code = errors[0].get("Code", "")
            raise Unusable(f"cannot delete '{uri}' ({code}); ask for s3:DeleteObject on it")


class Ranges(io.RawIOBase):
    """A file in a bucket as Arrow reads it, range by range; a range that fails is asked again."""

    def __init__(self, uri: str, path: str) -> None:
        """Raises FileNotFoundError. ``path``: bucket and key, of ``uri``."""
        self._uri, self._path, self._at = uri, path, 0
        self._file: Any = None
        self._size = int(ask(uri, "read", self._opened).size())

    def _opened(self) -> Any:
        if self._file is None:
            count(ASKED)
            client = arrow_s3(self._path.partition("/")[0])
            self._file = client.open_input_file(self._path)
        return self._file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def size(self) -> int:
        return self._size

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = start + offset
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._size - self._at)
        wanted = left if size is None or size < 0 else min(size, left)
        data = ask(self._uri, "read", functools.partial(self._range, self._at, wanted))
        self._at += len(data)
        return data

    def close(self) -> None:
        self._file = None
        super().close()

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _range(self, at: int, size: int) -> bytes:
        if not size:
            return b""
        try:
            file = self._opened()
            count(ASKED)
            data = bytes(file.read_at(size, at))
        except OSError:
            self._file = None  # opened anew, with credentials that may have been renewed
            raise
        if len(data) < size:
            self._file = None
            raise Truncated(f"{len(data)} of {size} bytes")
        return data


def opened(uri: str) -> Any:
    """A seekable stream (``pyarrow.NativeFile``) of an object. Raises FileNotFoundError."""
    fs, path = resolve(uri)
    if uri.partition("://")[0] in S3 and arrow_s3(path.partition("/")[0]) is not None:
        return pa.PythonFile(Ranges(uri, path), mode="r")
    return pa.PythonFile(ask(uri, "read", lambda: fs.open(path, "rb")), mode="r")


class Upload(io.RawIOBase):
    """An object being written. Nothing of it is visible before ``commit``; ``discard`` drops it."""

    def __init__(self, uri: str) -> None:
        self._uri, (self._fs, self._path) = uri, resolve(uri)
        self._held, self._size = bytearray(), 0
        self._file: Any = None

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._held += data
        self._size += len(data)
        if len(self._held) >= PART:
            self._pour()
        return len(data)

    def _pour(self) -> None:
        """Sends what is held as parts of a larger object."""
        if self._file is None:
            self._file = self._fs.open(self._path, "wb", autocommit=False, block_size=PART)
        held, self._held = bytes(self._held), bytearray()
        for at in range(0, len(held), PART):
            self._send(functools.partial(self._file.write, held[at : at + PART]))

    def commit(self) -> None:
        """Makes the object visible, whole."""
        if self._file is None:
            put = functools.partial(self._fs.pipe_file, self._path, bytes(self._held))
            ask(self._uri, "write", put)
            return
        self._pour()
        self._send(self._file.close)
        try:
            self._send(self._file.commit)
        except FileNotFoundError:  # asked again, as the answer to the first time was lost
            if ask(self._uri, "read", lambda: self._fs.info(self._path))["size"] != self._size:
                raise

    def discard(self) -> None:
        if self._file is not None:
            self._file.discard()
            self._file.closed = True  # or it would flush when it is collected

    def _send(self, work: Callable[[], Any]) -> None:
        """Sends a part; each of its requests is repeated by itself."""
        ask(self._uri, "write", work, repeats=False)
