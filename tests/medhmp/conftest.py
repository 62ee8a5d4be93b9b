"""Random stays, admissions and patients as plain records, and the batches made of them."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from medhmp.batch import (
    DEMOGRAPHICS,
    DRUG,
    HAS_NOTE,
    HOURS,
    ICD,
    NOTE_VECTOR,
    STAY_SLOT,
    SUBJECT_ID,
    VISIT_OFFSETS,
)
from medhmp.legend import NOTE_WIDTH, Widths

WIDTHS = Widths(hours=6, features=30, demographics=9, diagnoses=40, drugs=20)


@dataclass(frozen=True)
class Stay:
    hours: list[list[int]]  # T lists of feature ids
    demographics: list[int]


@dataclass(frozen=True)
class Admission:
    subject: int
    stays: list[Stay]
    icd: list[int]
    drugs: list[int]
    note: torch.Tensor | None


def csr(keys, rows):
    offsets = np.cumsum([0, *map(len, rows)])
    ids = [i for row in rows for i in row]
    return {
        keys.offsets: torch.tensor(offsets, dtype=torch.int64),
        keys.ids: torch.tensor(ids, dtype=torch.int64),
    }


class Records:
    """Draws records and batches them by the keys of medhmp/batch.py."""

    widths = WIDTHS

    def __init__(self, seed=0):
        self.random = np.random.default_rng(seed)

    def ids(self, vocabulary, at_least=0):
        count = self.random.integers(at_least, vocabulary // 3 + 1)
        return sorted(self.random.choice(vocabulary, count, replace=False).tolist())

    def stay(self):
        hours = [self.ids(WIDTHS.features) for _ in range(WIDTHS.hours)]
        return Stay(hours, self.ids(WIDTHS.demographics))

    def admission(self, subject, stays=1, icd=True, drugs=True, note=True):
        return Admission(
            subject,
            [self.stay() for _ in range(stays)],
            self.ids(WIDTHS.diagnoses, 2) if icd else [],
            self.ids(WIDTHS.drugs, 2) if drugs else [],
            torch.tensor(self.random.normal(size=NOTE_WIDTH)) if note else None,
        )

    def incomplete(self, subject):
        """An admission with each modality missing by chance, and no stay, one or several."""
        icd, drugs, note = self.random.random(3) < 0.7
        return self.admission(subject, int(self.random.integers(0, 4)), icd, drugs, note)

    def stay_batch(self, stays):
        return {
            **csr(HOURS, [hour for stay in stays for hour in stay.hours]),
            **csr(DEMOGRAPHICS, [stay.demographics for stay in stays]),
        }

    def admission_batch(self, admissions, max_stays=3, dtype=torch.float64):
        empty = torch.zeros(NOTE_WIDTH)
        notes = [empty if a.note is None else a.note for a in admissions]
        slots = [i * max_stays + j for i, a in enumerate(admissions) for j in range(len(a.stays))]
        return {
            **self.stay_batch([stay for a in admissions for stay in a.stays]),
            **csr(ICD, [a.icd for a in admissions]),
            **csr(DRUG, [a.drugs for a in admissions]),
            STAY_SLOT: torch.tensor(slots, dtype=torch.int64),
            NOTE_VECTOR: torch.stack([note.to(dtype) for note in notes]),
            HAS_NOTE: torch.tensor([a.note is not None for a in admissions]),
            SUBJECT_ID: torch.tensor([a.subject for a in admissions]),
        }

    def patient_batch(self, patients):
        """Patients as lists of visits, visits as lists of diagnoses."""
        visits = [visit for patient in patients for visit in patient]
        offsets = np.cumsum([0, *map(len, patients)])
        return {VISIT_OFFSETS: torch.tensor(offsets, dtype=torch.int64), **csr(ICD, visits)}


@pytest.fixture
def records():
    return Records()


@pytest.fixture
def golden(request):
    """Loads a recorded case: name -> its tensors."""
    folder = request.config.rootpath / "tests" / "golden" / "models"
    return lambda name: load_file(folder / f"{name}.safetensors")


@pytest.fixture
def float64():
    """Modules of this test are made in float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
