"""An S3 endpoint that fails: a proxy before the session's own that answers badly now and then."""

import contextlib
import http.client
import os
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import urlsplit

KINDS: Final = ("500", "503", "reset", "reset after", "truncated", "delay")
"""What goes wrong with a request: an answer instead of the store's, no answer (before or after the
store has done as asked), half a body, or an answer that comes late."""


class Faults(ThreadingHTTPServer):
    """Passes requests on to a store, each with a chance of ``rate`` to go wrong."""

    daemon_threads = True

    def __init__(self, store: str, rate: float, delay: float, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.store, self.rate, self.delay = urlsplit(store), rate, delay
        self.chance, self.lock = random.Random(seed), threading.Lock()
        self.made = Counter[str]()
        self.asked = 0
        self.answers: tuple[int, str] | None = None
        """Status and code of every answer, if set."""
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        """Method, path and headers (in lower case, but Authorization) of all requests."""
        self.down_until = 0.0
        """On the monotonic clock: until then everything is answered 503."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fail_for(self, seconds: float) -> None:
        self.down_until = time.monotonic() + seconds

    def next(self) -> str:
        with self.lock:
            self.asked += 1
            if time.monotonic() < self.down_until:
                kind = "503"
            elif self.chance.random() < self.rate:
                kind = self.chance.choice(KINDS)
            else:
                return ""
            if kind != "delay":
                self.made[kind] += 1
            return kind

    def handle_error(self, *_: Any) -> None:
        """A client that goes away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Faults

    def answer(self) -> None:
        length = self.headers.get("Content-Length")
        body = self.rfile.read(int(length)) if length else b""
        headers = {n if n == "Authorization" else n.lower(): v for n, v in self.headers.items()}
        self.server.requests.append((self.command, self.path, headers))
        kind = self.server.next()
        if self.server.answers:
            status, code = self.server.answers
            known = {"x-amz-bucket-region": "eu-west-1"} if status == 301 else {}
            self._give(status, known, f"<Error><Code>{code}</Code></Error>".encode())
            return
        if kind == "delay":
            time.sleep(self.server.delay)
        if kind in ("500", "503"):
            code = {"500": "InternalError", "503": "SlowDown"}[kind]
            text = f"<Error><Code>{code}</Code><Message>of the test</Message></Error>".encode()
            self._give(int(kind), {"Content-Type": "application/xml"}, text)
            return
        if kind == "reset":
            self._reset()
            return
        store = self.server.store
        link = http.client.HTTPConnection(store.hostname or "", store.port, timeout=60)
        with contextlib.closing(link):
            link.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                link.putheader(name, value)
            link.endheaders(body)
            answer = link.getresponse()
            data = answer.read()
        if kind == "reset after" or (kind == "truncated" and not data):
            self._reset()
            return
        headers = {
            name: value
            for name, value in answer.getheaders()
            if name.lower() not in ("transfer-encoding", "connection", "content-length")
        }
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
        self._give(answer.status, headers, data, length, kind == "truncated")

    def _give(
        self,
        status: int,
        headers: dict[str, str],
        data: bytes,
        length: str | None = None,
        truncated: bool = False,
    ) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(data)))
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(data[: len(data) // 2] if truncated else data)
        if truncated:
            self.wfile.flush()
            self._reset()

    def _reset(self) -> None:
        """Ends the connection as a machine that has crashed does."""
        at_once = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        self.close_connection = True
        self.connection.close()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextlib.contextmanager
def faulty_endpoint(
    put: Callable[[str, str], None], rate: float = 0.0, delay: float = 0.05, seed: int = 0
) -> Iterator[Faults]:
    """The endpoint of this environment becomes one that fails, until the block ends.

    ``put`` sets a variable of the environment.
    """
    store = os.environ["AWS_ENDPOINT_URL"]
    server = Faults(store, rate, delay, seed)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    put("AWS_ENDPOINT_URL", server.url)
    try:
        yield server
    finally:
        put("AWS_ENDPOINT_URL", store)
        server.shutdown()
        server.server_close()
