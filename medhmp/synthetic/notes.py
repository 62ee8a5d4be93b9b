"""Discharge summaries of the synthetic cohort: prose whose words follow conditions and axes.

A patient's conditions are mentioned, and absent ones are sometimes denied. An axis is mentioned if
it ends the last stay above ``HIGH``. Some sentences are left out and some are wrong, so that a note
is evidence and not a label.
"""

from typing import Final

import numpy as np
import polars as pl

from medhmp.synthetic.latents import DAY, HOUR, Bools, written_down
from medhmp.synthetic.readings import Block, times
from medhmp.synthetic.signal import AXES, CONDITIONS, DENIED, SAID

NO_NOTE: Final = 0.03
ADDENDUM: Final = 0.04
RADIOLOGY: Final = 0.10
"""Shares of admissions without a summary, with an addendum, with a report of another category."""

HISTORY: Final[dict[str, tuple[str, ...]]] = {
    "coronary": (
        "Longstanding coronary artery disease with prior stenting.",
        "Hypertension and angina on exertion, followed by cardiology.",
    ),
    "lung": (
        "Longstanding asthma on inhalers, former smoker with chronic cough.",
        "Bronchiectasis with several exacerbations, home nebulizer.",
    ),
    "diabetes": (
        "Type 2 diabetes mellitus on insulin with neuropathy.",
        "Diabetic, poorly controlled sugars at home.",
    ),
    "ckd": (
        "Chronic kidney disease, baseline creatinine elevated.",
        "End stage renal disease with an arteriovenous fistula.",
    ),
    "liver": (
        "Cirrhosis with esophageal varices and ascites.",
        "Chronic hepatitis C with portal hypertension.",
    ),
    "cancer": (
        "Metastatic malignancy on palliative chemotherapy.",
        "Known carcinoma, last seen by oncology for staging.",
    ),
    "dementia": (
        "Dementia at baseline, oriented to self only.",
        "Parkinsonian features with cognitive decline per family.",
    ),
    "alcohol": (
        "Heavy alcohol use with past withdrawal seizures.",
        "Drinks daily, prior admissions for intoxication.",
    ),
}
DENIALS: Final[dict[str, str]] = {
    "coronary": "No known coronary artery disease.",
    "lung": "Never smoked, no chronic lung disease.",
    "diabetes": "No history of diabetes.",
    "ckd": "No chronic kidney disease.",
    "liver": "No known liver disease.",
    "cancer": "No history of malignancy.",
    "dementia": "Cognitively intact at baseline.",
    "alcohol": "Denies alcohol use.",
}
COURSE: Final[dict[str, tuple[str, ...]]] = {
    "cardiovascular": (
        "Blood pressure was labile and required close titration.",
        "The patient became hypotensive with a poor cardiac output.",
    ),
    "respiratory": (
        "Oxygen requirement rose with increasing work of breathing.",
        "Persistent hypoxia and bilateral infiltrates were noted.",
    ),
    "renal": (
        "Urine output fell and the creatinine climbed.",
        "Acute kidney injury was managed with renal input.",
    ),
    "hepatic": (
        "Transaminases and bilirubin were elevated with a coagulopathy.",
        "INR rose and products were given for bleeding.",
    ),
    "inflammatory": (
        "Febrile with leukocytosis, cultured and covered broadly.",
        "Lactate was elevated and sepsis was treated.",
    ),
    "neurological": (
        "Mental status waxed and waned with delirium.",
        "Remained lethargic with a metabolic encephalopathy.",
    ),
}
QUIET: Final = (
    "The hospital course was otherwise uncomplicated.",
    "Diet was advanced as tolerated.",
    "Physical therapy evaluated the patient.",
    "Lines were removed before transfer to the floor.",
    "Home medications were resumed.",
    "Pain was controlled with oral agents.",
    "Family was updated daily by the team.",
    "Electrolytes were repleted as needed.",
    "Imaging was reviewed with radiology without new findings.",
    "Prophylaxis was given throughout the stay.",
)


def note_table(rng: np.random.Generator, block: Block) -> pl.DataFrame:
    """NOTEEVENTS: a summary of most admissions, a few addenda and reports that are no summaries."""
    n = len(block.admissions.patient)
    texts = _summaries(rng, block)
    summary = np.flatnonzero(rng.random(n) > NO_NOTE)
    addendum = np.flatnonzero(rng.random(n) < ADDENDUM)
    other = np.flatnonzero(rng.random(n) < RADIOLOGY)
    rows = np.concatenate([summary, addendum, other])
    kinds = ["Discharge summary"] * (len(summary) + len(addendum)) + ["Radiology"] * len(other)
    descriptions = ["Report"] * len(summary) + ["Addendum"] * len(addendum)
    written = [
        *(texts[row] for row in summary),
        *("Addendum: follow-up appointments were arranged." for _ in addendum),
        *("CHEST (PORTABLE AP)\nLines in standard position. No pneumothorax." for _ in other),
    ]
    discharged = block.admissions.discharged[rows]
    return pl.DataFrame(
        {
            **block.of_admissions(rows),
            "CHARTDATE": times(discharged // DAY * DAY).cast(pl.Date),
            "CATEGORY": kinds,
            "DESCRIPTION": [*descriptions, *["CHEST (PORTABLE AP)"] * len(other)],
            "TEXT": written,
        }
    )


def _summaries(rng: np.random.Generator, block: Block) -> list[str]:
    """One text per admission, 60 to 200 words."""
    admissions, patients, stays = block.admissions, block.patients, block.stays
    n = len(admissions.patient)
    sick = written_down(rng, stays, n)
    has = patients.conditions[admissions.patient]
    said = has & (rng.random(has.shape) < SAID)
    denied = ~has & (rng.random(has.shape) < DENIED)
    age = np.minimum(patients.age(admissions.patient, admissions.admitted), 89).astype(int)
    days = (admissions.discharged - admissions.admitted) // (24 * HOUR)
    ranks = rng.random((n, len(QUIET))).argsort(axis=1)
    variant = rng.integers(0, 2, (n, len(CONDITIONS) + len(AXES)))
    count = rng.integers(4, len(QUIET) + 1, n)
    return [
        _summary(
            f"{age[i]} year old {'man' if patients.male[admissions.patient[i]] else 'woman'}",
            said[i],
            denied[i],
            sick[i],
            [QUIET[k] for k in ranks[i, : count[i]]],
            variant[i].tolist(),
            f"{days[i]} days",
            bool(admissions.died[i]),
        )
        for i in range(n)
    ]


def _summary(
    person: str,
    said: Bools,
    denied: Bools,
    sick: Bools,
    quiet: list[str],
    variant: list[int],
    stay: str,
    died: bool,
) -> str:
    """The sentences of one summary under the headings of a summary."""
    history = [HISTORY[c][variant[k]] for k, c in enumerate(CONDITIONS) if said[k]]
    history += [DENIALS[c] for k, c in enumerate(CONDITIONS) if denied[k]]
    after = variant[len(CONDITIONS) :]
    course = [COURSE[a][after[k]] for k, a in enumerate(AXES) if sick[k]]
    ending = (
        "Despite all measures the patient passed away with family at the bedside."
        if died
        else "Discharged in stable condition, to follow up with the primary physician."
    )
    return "\n".join(
        [
            "HISTORY OF PRESENT ILLNESS:",
            f"{person} brought to the hospital and admitted to the intensive care unit.",
            "PAST MEDICAL HISTORY:",
            " ".join(history) or "Unremarkable.",
            "HOSPITAL COURSE:",
            " ".join([*course, *quiet]),
            f"The admission lasted {stay}.",
            "DISPOSITION:",
            ending,
        ]
    )
