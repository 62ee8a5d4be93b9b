"""The Ray cluster that a job joins: the one it is told of, if that answers and takes its token.

Ray by itself joins whatever cluster a file that all users share names, waits minutes for one that
has gone, and answers a wrong token with a traceback.
"""

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from medhmp.refusal import Refusal

ADDRESS: Final = "RAY_ADDRESS"
MODE: Final = "RAY_AUTH_MODE"
TOKEN: Final = "RAY_AUTH_TOKEN"
TOKEN_PATH: Final = "RAY_AUTH_TOKEN_PATH"
CONNECTING: Final = 4.0
ANSWERING: Final = 4.0
"""Seconds that a cluster may take to accept a connection, and to answer a call."""
CHECK_ALIVE: Final = "/ray.rpc.NodeInfoGcsService/CheckAlive"
OWN: Final = f"unset {ADDRESS} for a Ray of the job's own"


def asked_for() -> str | None:
    """The address in RAY_ADDRESS, which a submitted job has from Ray; None: a Ray of its own."""
    given = os.environ.get(ADDRESS, "").strip()
    return None if given in ("", "local") else given


def reach(address: str) -> str:
    """Makes sure, in seconds, that a cluster can be joined.

    Sets RAY_AUTH_MODE to ``token`` where the cluster asks for one and nothing else is set.

    Args:
        address: HOST:PORT of its control service, or ``auto`` for the one that this machine runs.

    Returns:
        HOST:PORT.

    Raises:
        Refusal: it is no such address, nothing answers there, or the cluster refuses the token.
    """
    if "://" in address:
        scheme = address.partition("://")[0]
        raise Refusal(
            f"{ADDRESS} begins with {scheme}:// and a job joins a cluster by HOST:PORT; give that, "
            "or submit the job: ray job submit --address http://HOST:8265 -- ..."
        )
    address = _on_this_machine() if address == "auto" else address
    host, _, digits = address.rpartition(":")
    if not host or not digits.isdecimal() or int(digits) > 65535:
        raise Refusal(f"{ADDRESS} is '{address}'; give HOST:PORT, or {OWN}")
    try:
        socket.create_connection((host.strip("[]"), int(digits)), timeout=CONNECTING).close()
    except OSError as error:
        raise Refusal(_silent(address, type(error).__name__)) from None
    # TLS wants the cluster's certificates for the call; it then asks for one, too, before a token.
    if os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
        _ask(address)
    return address


def is_loopback(address: str) -> bool:
    """True if the host of HOST:PORT is this machine's loopback."""
    host = address.rpartition(":")[0].strip("[]")
    return host in ("localhost", "::1") or host.startswith("127.")


def own_token() -> str | None:
    """The token that Ray would send: of the environment, else of a file. None: there is none."""
    if given := os.environ.get(TOKEN):
        return given
    try:
        return token_file().read_text().strip() or None
    except OSError:
        return None


def token_file() -> Path:
    """The file that Ray reads its token from."""
    return Path(os.environ.get(TOKEN_PATH) or Path.home() / ".ray" / "auth_token")


def _on_this_machine() -> str:
    from ray._private.services import get_ray_address_from_environment

    try:
        return str(get_ray_address_from_environment("auto", None))
    except ConnectionError:
        raise Refusal(
            f"{ADDRESS} is auto and no Ray runs on this machine; start one, or {OWN}"
        ) from None


def _silent(address: str, why: str) -> str:
    return f"no Ray answers at {address} ({why}); start that cluster, correct {ADDRESS}, or {OWN}"


def _ask(address: str) -> None:
    """Calls the cluster, first as anybody, then with the token if it wants one."""
    import grpc

    mode, token = os.environ.get(MODE, "").lower(), own_token()
    refused = grpc.StatusCode.UNAUTHENTICATED
    with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.unary_unary(
            CHECK_ALIVE, request_serializer=bytes, response_deserializer=bytes
        )
        status = _status(call, None)
        if status is refused and mode in ("", "token"):
            if token is None:
                raise Refusal(
                    f"the Ray at {address} asks for a token; put it into {token_file()} or {TOKEN}"
                )
            os.environ[MODE] = "token"
            status = _status(call, token)
    if status is refused:
        raise Refusal(
            f"the Ray at {address} refuses this job's token: it is another cluster, perhaps "
            f"somebody else's, or the token in {TOKEN}, {token_file()} or {MODE} is wrong; give "
            f"the cluster's own, or {OWN}"
        )
    if status is not None:
        raise Refusal(_silent(address, status.name.lower()))


def _status(call: Callable[..., bytes], token: str | None) -> Any:
    """None if the call succeeds, else gRPC's status."""
    import grpc

    metadata = [("authorization", f"Bearer {token}")] if token else None
    until = time.monotonic() + ANSWERING
    while True:
        try:
            call(b"", timeout=max(0.1, until - time.monotonic()), metadata=metadata)
        except grpc.RpcError as error:
            status = error.code()
            if status is grpc.StatusCode.UNAVAILABLE and time.monotonic() < until - 0.5:
                time.sleep(0.2)  # a head that is just starting
                continue
            return status
        return None
