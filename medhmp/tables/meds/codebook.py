"""What each code of a MEDS dataset is to us, by the patterns of ``tables.meds``.

Every ETL names its codes as it likes; only MEDS_BIRTH and MEDS_DEATH are fixed.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import polars as pl

from medhmp.refusal import Refusal

if TYPE_CHECKING:
    from medhmp.run import Meds, Run

FACTS: Final = (
    *("admission_type", "admission_location", "insurance", "language", "religion"),
    *("marital_status", "ethnicity"),
)
"""Texts of ADMISSIONS: groups of ``hospital_admission`` and ``fact``."""

GROUPS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "hospital_admission": ((), FACTS),
    "hospital_discharge": ((), ("died",)),
    "icu_admission": ((), ("first_careunit",)),
    "icu_discharge": ((), ()),
    "birth": ((), ()),
    "death": ((), ()),
    "sex": (("sex",), ()),
    "fact": ((), FACTS),
    "diagnosis": (("version", "icd"), ()),
    "drug": (("drug",), ()),
    "note": ((), ()),
    "arf": ((), ()),
    "shock": ((), ()),
    "signal": ((), ()),
    "strict_signal": ((), ()),
    "event": (("variable",), ()),
}
"""Field of ``tables.meds`` -> the groups it must have, and those it may have. The order in which a
code is tried against them."""

SIGNALS: Final = ("arf", "shock", "signal", "strict_signal")
"""Roles of codes that give an onset away."""

SCHEMA: Final = dict.fromkeys(
    ("code", "role", *dict.fromkeys(g for of in GROUPS.values() for part in of for g in part)),
    pl.String(),
)
"""Columns of what is known of a code: its role, "" for none, and its groups."""

NULL_PART: Final = "UNK"
"""What MEDS-Extract writes for a part of a code that is null."""


def check(meds: "Meds") -> None:
    """Refuses what is not a regular expression, or has other groups than its field can have."""
    for name, (needed, possible) in GROUPS.items():
        pattern, option = getattr(meds, name), f"--tables.meds.{name.replace('_', '-')}"
        try:
            groups = re.compile(pattern).groupindex
        except re.error as error:
            raise Refusal(
                f"tables.meds.{name} is '{pattern}', which is not a regular expression "
                f"({error.msg}); mend {option}"
            ) from None
        if not pattern and name in ("hospital_admission", "event"):
            raise Refusal(f"tables.meds.{name} is empty; give a pattern with {option}")
        for group in needed if pattern else ():
            if group not in groups:
                raise Refusal(
                    f"tables.meds.{name} has no group '{group}'; "
                    f"write (?P<{group}>...) around that part in {option}"
                )
        for group in groups:
            if group not in needed + possible:
                known = ", ".join(needed + possible) or "none"
                raise Refusal(
                    f"tables.meds.{name} has a group '{group}' and can have {known}; mend {option}"
                )


class Codebook:
    """What the codes met so far are; each is tried once against the patterns."""

    def __init__(self, run: "Run") -> None:
        strict = run.cohort.task_signals == "strict"
        roles = [role for role in GROUPS if strict or role != "strict_signal"]
        patterns = {role: getattr(run.tables.meds, role) for role in roles}
        self._patterns = {
            role: re.compile(pattern) for role, pattern in patterns.items() if pattern
        }
        self._known = pl.DataFrame(schema=SCHEMA)

    def of(self, block: pl.DataFrame) -> pl.DataFrame:
        """``SCHEMA`` of the codes known so far, those of ``block`` among them."""
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
