"""Codebook: the role of each code of a MEDS dataset, by the patterns of ``tables.meds``."""

import re
from typing import Final

import polars as pl

from medhmp.meds_patterns import GROUPS, Meds

SIGNALS: Final = ("arf", "shock", "signal", "strict_signal")
"""Roles of codes that give an onset away."""

SCHEMA: Final = dict.fromkeys(
    ("code", "role", *dict.fromkeys(g for of in GROUPS.values() for part in of for g in part)),
    pl.String(),
)
"""A code, its role ("" for none), and the groups that its pattern took out of it."""

NULL_PART: Final = "UNK"
"""Written by MEDS-Extract for a part of a code that is null."""


class Codebook:
    """The codes met so far. Each is tried against the patterns once."""

    def __init__(self, meds: Meds, strict: bool) -> None:
        roles = [role for role in GROUPS if strict or role != "strict_signal"]
        patterns = {role: getattr(meds, role) for role in roles}
        self._patterns = {
            role: re.compile(pattern) for role, pattern in patterns.items() if pattern
        }
        self._known = pl.DataFrame(schema=SCHEMA)

    def of(self, block: pl.DataFrame) -> pl.DataFrame:
        """``SCHEMA`` of all codes met so far, including those of ``block``."""
        new = block.select(pl.col("code").unique()).join(self._known, on="code", how="anti")
        if new.height:
            rows = [self._meaning(code) for code in new["code"]]
            self._known = pl.concat([self._known, pl.DataFrame(rows, schema=SCHEMA, orient="row")])
        return self._known

    def _meaning(self, code: str) -> tuple[str | None, ...]:
        for role, pattern in self._patterns.items():
            if match := pattern.fullmatch(code):
                groups = {name: part for name, part in match.groupdict().items() if part}
                known = {name: part for name, part in groups.items() if part != NULL_PART}
                return code, role, *(known.get(name) for name in list(SCHEMA)[2:])
        return code, "", *(None for _ in list(SCHEMA)[2:])
