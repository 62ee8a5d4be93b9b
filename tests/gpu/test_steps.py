"""Steps on a GPU: its own kernels, bf16 autocast, gradient caching, no waiting."""

from dataclasses import replace

import pytest
import torch

from medhmp.run import Model
from medhmp.train.backward import backward
from medhmp.train.device import to_device
from medhmp.train.objective import build_admission_pretraining, build_stay_pretraining

pytestmark = pytest.mark.gpu
MODEL = Model(width=64, demographic_hidden=16)
BUILDS = [build_stay_pretraining, build_admission_pretraining]


def admissions_of(records, rows):
    admissions = [records.incomplete(i % 50) for i in range(rows)]
    return records.admission_batch(admissions, dtype=torch.float32)


def objective_of(records, build, device, model=MODEL):
    torch.manual_seed(0)
    objective = build(model, records.widths).to(device)
    if build is build_admission_pretraining:
        objective.masks.manual_seed(1)
    return objective


def gradients_of(objective):
    return {name: p.grad.cpu() for name, p in objective.named_parameters()}


@pytest.fixture
def float32(monkeypatch):
    """No TF32."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("layers", [1, 3])
def test_gradients_are_those_of_a_cpu(records, gpu, build, layers):
    model = replace(MODEL, encoder_layers=layers)
    batch = admissions_of(records, 64)
    ours, theirs = (
        objective_of(records, build, device, model) for device in (gpu, torch.device("cpu"))
    )
    for objective in (ours, theirs):  # dropout draws differ
        for module in objective.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    loss, _ = backward(ours, batch, gpu)
    expected, _ = backward(theirs, batch)
    torch.testing.assert_close(loss.cpu(), expected, rtol=1e-5, atol=0)
    for name, gradient in gradients_of(theirs).items():
        assert (gradients_of(ours)[name] - gradient).norm() <= 1e-4 * gradient.norm(), name


@pytest.mark.parametrize("build", BUILDS)
def test_the_loss_in_bf16_stays_within_a_percent(records, gpu, build):
    batch, curves = admissions_of(records, 128), []
    for bf16 in (True, False):
        objective, losses = objective_of(records, build, gpu), []
        optimizer = torch.optim.AdamW(objective.parameters(), lr=5e-4, fused=True)
        for _ in range(100):
            optimizer.zero_grad(set_to_none=True)
            loss, _ = backward(objective, batch, gpu, bf16=bf16)
            optimizer.step()
            losses.append(loss)
        curves.append(torch.stack(losses).cpu())
    assert ((curves[0] / curves[1] - 1).abs() < 0.01).all()


@pytest.mark.parametrize("build", BUILDS)
def test_a_step_does_not_wait(records, gpu, build):
    objective = objective_of(records, build, gpu)
    optimizer = torch.optim.AdamW(objective.parameters(), fused=True)
    batch = to_device(admissions_of(records, 32), gpu)
    backward(objective, batch, gpu, bf16=True)
    optimizer.step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        backward(objective, batch, gpu, bf16=True)
        optimizer.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("chunk", [8, 32])
def test_chunks_are_the_whole_batch(records, gpu, chunk):
    batch = admissions_of(records, 64)
    whole, cached = (objective_of(records, BUILDS[1], gpu) for _ in range(2))
    _, report = backward(whole, batch, gpu)
    _, ours = backward(cached, batch, gpu, chunk)
    for name, term in report.items():
        torch.testing.assert_close(ours[name], term, rtol=1e-5, atol=0)
    for name, gradient in gradients_of(whole).items():
        assert (gradients_of(cached)[name] - gradient).norm() <= 1e-5 * gradient.norm(), name
