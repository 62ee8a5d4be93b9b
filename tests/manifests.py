"""Manifests of shards that are not there."""

from typing import Any

from medhmp.shards.manifest import Manifest

NOTHING: dict[str, Any] = {
    "fields": {},
    "counts": {},
    "rows_read": {},
    "left_out": {},
    "splits": {},
    "hours": 48,
    "real_valued": False,
    "features": [],
    "demographics": [],
    "diagnoses": [],
    "drugs": [],
    "vocabularies": {},
    "indicators": [],
    "fiddle": {},
    "tables": {},
    "notes": 0,
    "tasks": {},
}


def manifest(**content: Any) -> Manifest:
    """Of shards that hold nothing but this."""
    return Manifest(**(NOTHING | content))
