"""The shared vocabulary of facts: the words of each database, those of none, the counts."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medhmp.tables import facts

KNOWN = [
    # MIMIC-III, MIMIC-IV, eICU: the same thing
    ("ADMISSION_TYPE", "EMERGENCY", ("EMERGENCY", "EW EMER.", "DIRECT EMER.", "EU OBSERVATION")),
    ("ADMISSION_TYPE", "ELECTIVE", ("ELECTIVE", "SURGICAL SAME DAY ADMISSION")),
    ("ADMISSION_TYPE", "URGENT", ("URGENT", "DIRECT OBSERVATION")),
    ("ADMISSION_TYPE", "NEWBORN", ("NEWBORN",)),
    (
        "ADMISSION_LOCATION",
        "EMERGENCY ROOM",
        ("EMERGENCY ROOM ADMIT", "EMERGENCY ROOM", "Emergency Department"),
    ),
    (
        "ADMISSION_LOCATION",
        "REFERRAL",
        ("PHYS REFERRAL/NORMAL DELI", "CLINIC REFERRAL/PREMATURE", "PHYSICIAN REFERRAL"),
    ),
    (
        "ADMISSION_LOCATION",
        "TRANSFER FROM HOSPITAL",
        ("TRANSFER FROM HOSP/EXTRAM", "TRANSFER FROM HOSPITAL", "Other Hospital"),
    ),
    (
        "ADMISSION_LOCATION",
        "OTHER OR UNKNOWN",
        ("** INFO NOT AVAILABLE **", "INFORMATION NOT AVAILABLE", None, " "),
    ),
    ("ADMISSION_LOCATION", "WITHIN THE HOSPITAL", ("PACU", "Step-Down Unit (SDU)", "Floor")),
    ("INSURANCE", "MEDICARE", ("Medicare",)),
    ("INSURANCE", "OTHER OR UNKNOWN", ("Private", "Government", "Other", "No charge", None)),
    ("LANGUAGE", "ENGLISH", ("ENGL", "ENGLISH", "English")),
    ("LANGUAGE", "OTHER OR UNKNOWN", ("SPAN", "?", "Kabuverdianu", "*BEN", None)),
    ("MARITAL_STATUS", "DIVORCED", ("DIVORCED", "SEPARATED", "Divorced")),
    ("MARITAL_STATUS", "OTHER OR UNKNOWN", ("UNKNOWN (DEFAULT)", None, "")),
    ("ETHNICITY", "WHITE", ("WHITE", "WHITE - RUSSIAN", "Caucasian")),
    ("ETHNICITY", "BLACK", ("BLACK/AFRICAN AMERICAN", "BLACK/AFRICAN", "African American")),
    ("ETHNICITY", "HISPANIC", ("HISPANIC OR LATINO", "HISPANIC/LATINO - CUBAN", "Hispanic")),
    ("ETHNICITY", "ASIAN", ("ASIAN - CHINESE", "Asian")),
    ("ETHNICITY", "NATIVE AMERICAN", ("AMERICAN INDIAN/ALASKA NATIVE", "Native American")),
    ("ETHNICITY", "OTHER OR UNKNOWN", ("UNKNOWN/NOT SPECIFIED", "Other/Unknown", None)),
    (
        "FIRST_CAREUNIT",
        "CSRU",
        ("CSRU", "CVICU", "Cardiac Vascular Intensive Care Unit (CVICU)", "CTICU"),
    ),
    ("FIRST_CAREUNIT", "MICU/SICU", ("MICU/SICU", "Med-Surg ICU")),
    ("FIRST_CAREUNIT", "MICU", ("Medical Intensive Care Unit (MICU)", "MICU")),
    ("GENDER", "F", ("F", "Female")),
    # CLIF
    ("ADMISSION_TYPE", "EMERGENCY", ("ED",)),
    ("ADMISSION_TYPE", "URGENT", ("OSH", "FACILITY", "DIRECT")),
    ("FIRST_CAREUNIT", "CSRU", ("cvicu_icu", "cardiothoracic_surgical_icu")),
    ("FIRST_CAREUNIT", "NEURO ICU", ("mixed_neuro_icu",)),
    ("ETHNICITY", "BLACK", ("Black or African American",)),
    ("LANGUAGE", "OTHER OR UNKNOWN", ("other and unspecified languages",)),
]


def told(fact, *words):
    counts = {}
    return facts.shared(fact, pl.Series("x", words, pl.String), counts).to_list(), counts


@pytest.mark.parametrize(("fact", "category", "words"), KNOWN)
def test_words_of_all_databases_are_of_one_category(fact, category, words):
    categories, counts = told(fact, *words)
    assert set(categories) == {category}
    assert sum(counts.values()) == 0


@given(st.sampled_from([k for k in KNOWN if k[2][0]]), st.booleans(), st.text(" \t", max_size=2))
def test_case_and_spacing_do_not_matter(known, lower, blank):
    fact, category, (word, *_) = known
    written = blank + (word.lower() if lower else word.upper()).replace(" ", "  ") + blank
    assert told(fact, written) == told(fact, word)
    assert told(fact, written)[0] == [category]


def test_a_word_of_no_category_is_kept_and_counted():
    words = ("MICU", "Lunar Base", "Lunar Base", None)
    categories, counts = told("FIRST_CAREUNIT", *words)
    assert categories == ["MICU", "Lunar Base", "Lunar Base", "OTHER OR UNKNOWN"]
    assert counts == {"FIRST_CAREUNIT, in a word of no shared category, kept as it is": 2}
