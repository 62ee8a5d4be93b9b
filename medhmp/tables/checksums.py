"""``SHA256SUMS.txt``, which PhysioNet publishes with its tables: files read are files published."""

import hashlib
import os
import re
import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from medhmp.refusal import Refusal, counted
from medhmp.storage import Folder

NAME: Final = "SHA256SUMS.txt"
BLOCK: Final = 1 << 22
"""Bytes of a file hashed at a time."""
LARGEST: Final = 1 << 26
"""Bytes of a list that are read: half a million files."""


def check(folder: Folder, names: Collection[str]) -> str:
    """Compares the files of ``names``, below ``folder``, with the list there, if there is one.

    Files that the list does not name, such as unpacked ones, are left alone. Refuses a file whose
    SHA-256 is another.

    Returns:
        What was compared and how long it took, in words; empty without a list or a file in it.
    """
    if not folder.exists(NAME):
        return ""
    published = _read(folder)
    named = sorted(name for name in names if name in published)
    begun = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # hashing leaves Python's lock
        found = list(pool.map(lambda name: _sha256(folder, name), named))
    for name, (sha256, _) in zip(named, found, strict=True):
        if sha256 != published[name]:
            raise Refusal(
                f"'{folder / name}' is not as published: its SHA-256 is not that of {NAME}; "
                "download it again, or give --tables.no-checksums if you have changed it"
            )
    if not named:
        return ""
    seconds, size = time.perf_counter() - begun, sum(size for _, size in found) / 2**30
    return f"{counted(len(named), 'file')} as {NAME} has them, {size:.1f} GiB in {seconds:.0f} s"


def _read(folder: Folder) -> Mapping[str, str]:
    """Name -> SHA-256 in hex. Refuses a list that is none."""
    with folder.open(NAME) as stream:
        text = stream.read(LARGEST).decode("utf-8", "replace")
    lines = [
        re.fullmatch(r"([0-9a-fA-F]{64}) [ *]?(?:\./)?(.+?)\s*", at) for at in text.split("\n")
    ]
    found = {line[2]: line[1].lower() for line in lines if line}
    if not found:
        raise Refusal(
            f"'{folder / NAME}' has no line with a SHA-256 and a name; download it again, or give "
            "--tables.no-checksums"
        )
    return found


def _sha256(folder: Folder, name: str) -> tuple[str, int]:
    """SHA-256 in hex, and bytes."""
    sha, size = hashlib.sha256(), 0
    try:
        with folder.open(name) as stream:
            while block := stream.read(BLOCK):
                sha.update(block)
                size += len(block)
    except FileNotFoundError:
        raise Refusal(f"'{folder / name}' has gone; check the folder") from None
    except OSError as error:
        raise Refusal(
            f"'{folder / name}' cannot be read ({type(error).__name__}); check access to it"
        ) from None
    return sha.hexdigest(), size
