"""The meaning of the codes of a MEDS dataset: the patterns of ``tables.meds``, and their check.

Every ETL names its codes as it likes; the standard fixes only MEDS_BIRTH and MEDS_DEATH.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from medhmp.refusal import Refusal

FACTS: Final = (
    *("admission_type", "admission_location", "insurance", "language", "religion"),
    *("marital_status", "ethnicity"),
)
"""Text columns of ADMISSIONS: possible groups of ``hospital_admission`` and ``fact``."""

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
    "arf": ((), ("begins",)),
    "shock": ((), ("begins",)),
    "signal": ((), ("ends",)),
    "strict_signal": ((), ()),
    "event": (("variable",), ()),
}
"""Field of ``tables.meds`` -> the groups it must have, and those it may have; in the order in which
a code is tried against them."""


_INPATIENT: Final = r"(Visit//?(IP|ERIP|9201|262|8717|8971|32037)|[^/]*_vis_[^/]*//[^/]+)"
"""Visits in hospital: inpatient, emergency and inpatient, intensive care; or a source's own kind,
in a vocabulary such as mimiciv_vis_admission_type."""

_PRESSORS: Final = (
    r"(RxNorm//?(1321341|1343916|1337860|1507835|1135766|7512|3992|3628|11149|8163)"
    r"|ATC//?(C01CA(03|24|04|06)|H01BA01))"
)
"""Norepinephrine, epinephrine, dopamine, vasopressin, phenylephrine: their concepts and codes as
ingredients, which DRUG_ERA has. A hospital's own products are its to add."""

_OMOP: Final[Mapping[str, str]] = {
    "hospital_admission": rf"{_INPATIENT}(//start)?",
    "hospital_discharge": rf"{_INPATIENT}//end",
    "icu_admission": "",  # the ETL leaves out VISIT_DETAIL, where OMOP has stays in an ICU
    "icu_discharge": "",
    "birth": r"MEDS_BIRTH",
    "death": r"MEDS_DEATH",
    "sex": r"(GENDER|Gender)//?(?P<sex>.+)",
    "fact": r"(RACE|Race)//?(?P<ethnicity>.+)",
    # codes alone: for a source's own conditions the ETL writes the numbers of concepts
    "diagnosis": (
        r"ICD(?P<version>9|10)CM//?"
        r"(?P<icd>\d{3}(\.?\d{1,2})?|[A-Z]\d[0-9A-Z](\.?[0-9A-Z]{1,4})?)(//start)?"
    ),
    "drug": (
        rf"(?!{_PRESSORS}(//start)?$)"
        r"(?P<drug>(RxNorm|RxNorm Extension|NDC|ATC|CVX|[^/]*_drug_[^/]*)//?[^/]+)(//start)?"
    ),
    # positive end expiratory pressure; artificial ventilation
    "arf": (
        r"LOINC//?(20077-4|76248-4)|SNOMED//?(40617009|243147009|428311008)"
        r"|ICD10PCS//?5A19(35|45|55)Z"
    ),
    "shock": rf"(?P<begins>{_PRESSORS})(//start)?",
    "signal": rf"(?P<ends>{_PRESSORS})//end",
    # tidal volume, ventilator's mode and rate, inspired oxygen
    "strict_signal": r"LOINC//?(20112-9|76222-9|20124-4|19834-1|33438-3|3150-6|19994-3)",
    # measurements and observations; without procedures, which are billed by the day, and
    # conditions, which many sites date back to the admission
    "event": (
        r"(?P<variable>(LOINC|SNOMED|OMOP Extension|OMOP_measurement|OMOP_observation"
        r"|[^/]*_(meas|lab|chart|obs)_[^/]*)//?[^/]+)"
    ),
    "admission_id": "visit_occurrence_id",
    "stay_id": "",
}
"""Field of ``Meds`` -> its pattern for OMOP_MEDS. The older meds_etl writes one stroke for two."""


@dataclass(frozen=True)
class Meds:
    """Meaning of the codes of a MEDS dataset. The defaults are for MIMIC_IV_MEDS.

    A pattern is a Python regular expression that must match a whole code. The first that does, in
    this order, decides what the code is; an empty pattern matches nothing. Named groups take parts
    out of a code. Codes that no pattern matches are left out, and counted.
    """

    # the ETL that wrote the codes: mimic4: MIMIC_IV_MEDS; omop: OMOP_MEDS, where every hospital
    # admission is a stay. A field below that is not at its default goes before the ETL's pattern
    patterns: Literal["mimic4", "omop"] = "mimic4"
    # groups, as far as the code has them: admission_type, admission_location, insurance, language,
    # religion, marital_status, ethnicity
    hospital_admission: str = (
        r"HOSPITAL_ADMISSION//(?P<admission_type>.+?)//(?P<admission_location>.+)"
    )
    # group died: matched by a death in hospital; without this group, a death between admission and
    # discharge counts as one
    hospital_discharge: str = r"HOSPITAL_DISCHARGE//((?P<died>DIED)|.+)"
    # group first_careunit; empty pattern: every hospital admission counts as a stay
    icu_admission: str = r"ICU_ADMISSION//(.*\()?(?P<first_careunit>[^()]+)\)?"
    icu_discharge: str = r"ICU_DISCHARGE//.+"  # end of a stay
    birth: str = r"(MEDS_BIRTH|DOB)(//.*)?"  # its time is the patient's birth
    death: str = r"MEDS_DEATH(//.*)?"  # its time is the patient's death
    sex: str = r"GENDER//(?P<sex>.+)"  # group sex
    # groups as of hospital_admission, in codes of their own: they describe the admission that the
    # row names, else each admission of the patient not yet over
    fact: str = (
        r"INSURANCE//(?P<insurance>.+)|LANGUAGE//(?P<language>.+)"
        r"|MARITAL_STATUS//(?P<marital_status>.+)|RACE//(?P<ethnicity>.+)"
    )
    # groups version (9 or 10) and icd, with or without dots
    diagnosis: str = r"DIAGNOSIS//ICD//(?P<version>9|10)//(?P<icd>.+)"
    drug: str = r"MEDICATION//START//(?P<drug>.+?)(//(\d{8,}|UNK))?"  # group drug: its name
    note: str = ""  # discharge summaries; text_value has the text
    # first sign of acute respiratory failure: PEEP set, ventilation. Group begins: what a code of
    # signal with the same text in its group ends; if it runs when a stay begins, the stay has it
    arf: str = r"LAB//220339//.+|PROCEDURE//START//(?P<begins>225792|225794)"
    # first sign of shock: vasopressors; group begins as of arf
    shock: str = r"INFUSION_START//(?P<begins>221906|221289|221662|222315|221749)"
    # further codes that give an onset away; they and those of arf and shock are no events. Group
    # ends: what a code of arf or shock with the same text in its group began
    signal: str = (
        r"(PROCEDURE//END|INFUSION_END)//"
        r"(?P<ends>225792|225794|221906|221289|221662|222315|221749)"
        r"|INFUSION_(START|END)//(229617|229630|229631|229632|229709)"
    )
    # the same, under cohort.task_signals strict only
    strict_signal: str = (
        r"LAB//(223849|224700|224684|224685|224686|224687|223835)//.+"
        r"|PROCEDURE//(START|END)//(227194|224385)|INFUSION_(START|END)//(221653|221986)"
    )
    # group variable: the name of the feature, the whole code or a part of it
    event: str = (
        r"(?P<variable>(LAB|INFUSION_START|INFUSION_END|PROCEDURE//START|PROCEDURE//END"
        r"|SUBJECT_FLUID_OUTPUT|SUBJECT_WEIGHT_AT_INFUSION)//.+)"
    )
    # variables (of group variable) that hold for a whole stay if they never have a time; events of
    # other variables without a time are left out
    timeless: str = ""
    # column with the end of an admission or a stay in the row of the code that begins it (OMOP's
    # visits); used where no code tells the end
    end: str = "end"
    admission_id: str = "hadm_id"  # column that names an admission; absent: by order in time
    stay_id: str = "icustay_id"  # column that names an ICU stay; absent: by order in time


def of_etl(meds: Meds) -> Meds:
    """The patterns in force: those of ``meds.patterns`` where a field is at its default."""
    if meds.patterns == "mimic4":
        return meds
    default = Meds()
    own: dict[str, Any] = {
        name: pattern
        for name, pattern in _OMOP.items()
        if getattr(meds, name) == getattr(default, name)
    }
    return replace(meds, **own)


def check(meds: Meds) -> None:
    """Refuses a field that is no regular expression, or has wrong groups."""
    meds = of_etl(meds)
    for name, (needed, possible) in {**GROUPS, "timeless": ((), ())}.items():
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
