"""Versions and machine of this process, to be told beside what it makes."""

import platform
from typing import Any


def provenance() -> dict[str, Any]:
    """Name -> version, number or name of the hardware."""
    return {"python": platform.python_version()}
