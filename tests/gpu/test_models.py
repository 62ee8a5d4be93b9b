"""Every network of the catalogue on a GPU, whose layers run dense there, against the CPU."""

import copy

import pytest
import torch

from medhmp.batch import TOKENS, VISIT_DAYS
from medhmp.model.catalog import MODELS
from medhmp.notes.encoder import load_trainable
from medhmp.run import Model
from medhmp.train.device import to_device
from tests.medhmp.conftest import csr

pytestmark = pytest.mark.gpu
NETWORKS = [(n, level) for n, e in MODELS.items() if e.is_network for level in e.builders]
TEXTS = [[2, 40, 41, 1], [2, 1], [2, 77, 78, 79, 1]]


def batch_of(records, level):
    if level == "patient":
        visits = [[records.ids(40) for _ in range(n)] for n in (3, 1, 5)]
        days = torch.tensor([90.0, 20, 0, 0, 400, 300, 200, 9, 0])
        return {**records.patient_batch(visits), VISIT_DAYS: days}
    stays = (1, 1, 1) if level == "stay" else (1, 0, 3)
    admissions = [records.admission(at, n) for at, n in enumerate(stays)]
    batch = records.admission_batch(admissions, dtype=torch.float32)
    if level == "stay":
        del batch["stay_slot"]
    return {**batch, **csr(TOKENS["t5"], TEXTS), **csr(TOKENS["bert"], TEXTS)}


@pytest.mark.parametrize(("name", "level"), NETWORKS)
def test_logits_and_gradients_are_those_of_a_cpu(records, gpu, monkeypatch, name, level):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    torch.manual_seed(0)
    entry = MODELS[name]
    more = {"encoder": load_trainable(None, entry.text)} if entry.text else {}
    ours = entry.builder(level)(records.widths, Model(width=64), **more).eval()
    for module in ours.modules():
        if isinstance(module, torch.nn.RNNBase):
            module.train()  # or cuDNN gives no gradients
    ours, theirs = copy.deepcopy(ours).to(gpu), ours
    batch = batch_of(records, level)
    logits, expected = ours(to_device(batch, gpu)), theirs(batch)
    torch.testing.assert_close(logits.cpu(), expected, rtol=1e-4, atol=1e-4)
    logits.sum().backward()
    expected.sum().backward()
    for (layer, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        if other.grad is not None:
            error = (one.grad.cpu() - other.grad).norm()
            assert error <= 1e-3 * other.grad.norm() + 1e-5, layer
