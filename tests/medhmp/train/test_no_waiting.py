"""Nothing in a step may wait for the device: no value may be read, no shape depend on one.

On tensors without data a step that reads a value fails. The choices of a GPU are made here by hand.
"""

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from medhmp.model import recurrence, sparse
from medhmp.run import Model
from medhmp.train import objective as objectives
from medhmp.train.backward import backward
from medhmp.train.objective import build_admission_pretraining, build_stay_pretraining

MODEL = Model(width=8, demographic_hidden=5)


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    monkeypatch.setattr(sparse, "densifies", lambda _: True)
    monkeypatch.setattr(recurrence, "runs_natively", lambda _: True)
    monkeypatch.setattr(objectives, "draw_salts", lambda _: (1, 2))  # of the host's generator


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize("build", [build_stay_pretraining, build_admission_pretraining])
def test_a_step_reads_no_value(records, build):
    admissions = [records.incomplete(i) for i in range(6)]
    batch = records.admission_batch(admissions, dtype=torch.float32)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        objective = build(MODEL, records.widths)
        optimizer = torch.optim.AdamW(objective.parameters(), fused=True)
        on_device = {name: mode.from_tensor(value) for name, value in batch.items()}
        loss, report = backward(objective, on_device)
        optimizer.step()
        assert all(parameter.grad is not None for parameter in objective.parameters())
        with pytest.raises(DataDependentOutputException):
            loss.item()
    assert not any(term.requires_grad for term in report.values())
