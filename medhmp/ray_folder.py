"""The folder of an embedded Ray: its sockets, logs and what it spills, for its owner's eyes alone.

Ray opens its session folders to everybody (mode 0777) and leaves them behind. Here they lie inside
a folder of mode 0700, which goes with the job; what a killed job left goes with the next one.
"""

import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from medhmp.refusal import Refusal

PREFIX: Final = "medhmp-"
OWNER: Final = "owner"
"""A file that the living owner of a folder holds locked."""
LONGEST: Final = 107 if sys.platform == "linux" else 103
"""Bytes of the path of a socket."""
SOCKET: Final = "/session_2026-12-01_00-24-29_421500_4194304/sockets/plasma_store"
"""The longest path that Ray makes below its folder."""


@dataclass(frozen=True)
class RayFolder:
    """Where an embedded Ray keeps its files."""

    session: Path
    """Sockets and logs."""
    spill: Path
    """Objects that memory has no room for."""
    owned: tuple[tuple[Path, int], ...]
    """The folders made for them, and the descriptors of their locks."""

    @staticmethod
    def make() -> "RayFolder":
        """Makes it below RAY_TMPDIR or TMPDIR, and sweeps what killed jobs of this user left.

        Where that path leaves no room for the name of a socket, the session is below /tmp.
        """
        base = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()).absolute()
        spilling = _private_folder(base)
        owned = [spilling]
        if _is_too_long(spilling[0]):
            owned.append(_private_folder(Path("/tmp")))
        return RayFolder(owned[-1][0] / "ray", spilling[0] / "spill", tuple(owned))

    def remove(self) -> None:
        for folder, lock in self.owned:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _is_too_long(folder: Path) -> bool:
    return len(os.fsencode(folder / "ray")) + len(SOCKET) > LONGEST


def _private_folder(base: Path) -> tuple[Path, int]:
    """A new folder of mode 0700, and the descriptor of its lock."""
    try:
        _sweep(base)
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        # Locked before it has its name, so that nobody who sweeps finds it without its owner.
        lock = os.open(folder / f".{OWNER}", os.O_CREAT | os.O_WRONLY, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(folder / f".{OWNER}", folder / OWNER)
    except OSError as error:
        raise Refusal(
            f"cannot make a folder for Ray's files in '{base}' ({type(error).__name__}); set "
            "TMPDIR to a folder that you may write to"
        ) from None
    return folder, lock


def _sweep(base: Path) -> None:
    """Removes this user's folders whose owner has gone."""
    for owner in base.glob(f"{PREFIX}*/{OWNER}"):
        with contextlib.suppress(OSError):  # a living owner's, another user's, or gone by now
            if owner.stat().st_uid != os.getuid():
                continue
            lock = os.open(owner, os.O_WRONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(owner.parent, ignore_errors=True)
            finally:
                os.close(lock)
