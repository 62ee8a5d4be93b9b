"""Requests to object storage, counted over all processes of a job.

Every process counts its own. Those of Ray's workers leave their counts, several times a second
while they change, in the key-value store of the cluster, from which the driver adds them up.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections import Counter
from typing import Any, Final

ASKED: Final = "asked"
AGAIN: Final = "again"
"""What is counted: requests, and those among them that repeat a failed one."""
EVERY: Final = 0.2
"""Seconds between two looks of a process at its counts."""

_counts: Final = Counter[str]()
_lock: Final = threading.Lock()
_threads: Final[list[threading.Thread]] = []


def count(what: str) -> None:
    """Counts a request of this process."""
    with _lock:
        _counts[what] += 1
        if not _threads and "ray" in sys.modules:
            _threads.append(threading.Thread(target=_leave, name="requests", daemon=True))
            _threads[0].start()


def counts() -> Counter[str]:
    """Requests of this process so far."""
    with _lock:
        return Counter(_counts)


def total() -> Counter[str]:
    """Requests of all processes of this job so far."""
    found = counts()
    if found and _is_on_ray():
        time.sleep(2 * EVERY)  # until the last counts have arrived
        kv, own = _store(), _key()
        for key in kv._internal_kv_list(_prefix()):
            if key != own:
                found += Counter(json.loads(kv._internal_kv_get(key) or b"{}"))
    return found


def in_words(asked: Counter[str]) -> str:
    """``, 1,234 requests (5 repeated)``; empty where there was none."""
    if not asked[ASKED]:
        return ""
    again = f" ({asked[AGAIN]:,} repeated)" if asked[AGAIN] else ""
    return f", {asked[ASKED]:,} requests to object storage{again}"


def _leave() -> None:
    left: Counter[str] = Counter()
    while True:
        time.sleep(EVERY)
        now = counts()
        # A cluster that ends takes them along.
        with contextlib.suppress(Exception):
            if now != left and _is_on_ray():
                _store()._internal_kv_put(_key(), json.dumps(now).encode(), overwrite=True)
                left = now


def _is_on_ray() -> bool:
    ray = sys.modules.get("ray")
    return ray is not None and bool(getattr(ray, "is_initialized", bool)())


def _store() -> Any:
    from ray.experimental import internal_kv

    return internal_kv


def _prefix() -> bytes:
    import ray

    return f"medhmp-requests:{ray.get_runtime_context().get_job_id()}:".encode()


def _key() -> bytes:
    return _prefix() + f"{socket.gethostname()}:{os.getpid()}".encode()
