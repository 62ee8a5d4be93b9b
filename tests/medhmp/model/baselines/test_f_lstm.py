import torch
import torch.nn.functional as F

from medhmp.batch import DEMOGRAPHICS, HOURS
from medhmp.legend import Widths
from medhmp.model.baselines.f_lstm import FLSTM
from medhmp.run import Model


def csr(keys, dense):
    """The non-zeros of a binary matrix under the keys of a batch."""
    return {
        keys.offsets: F.pad((dense != 0).sum(1).cumsum(0), (1, 0)),
        keys.ids: dense.nonzero()[:, 1],
    }


def test_f_lstm_is_the_recorded_one(golden):
    recorded = golden("f_lstm")
    renamed = {"lstm": "lstm", "fc1": "first", "fc2": "second"}
    weights = {}
    for name, tensor in recorded.items():
        if name.startswith("weight."):
            _, layer, kind = name.split(".")
            weights[f"{renamed[layer]}.{kind}"] = tensor
    widths = Widths(hours=8, features=14, demographics=5, diagnoses=1, drugs=1)
    model = FLSTM(widths, Model(), hidden=11, layers=2, neurons=7)
    model.load_state_dict(weights, strict=True)
    hourly, constant = recorded["input.x_fused"].split([14, 5], dim=2)
    assert torch.equal(constant, constant[:, :1].expand_as(constant))
    batch = {
        **csr(HOURS, hourly.flatten(0, 1)),
        **csr(DEMOGRAPHICS, constant[:, 0]),
    }
    probability = model(batch).sigmoid().unsqueeze(1)
    torch.testing.assert_close(probability, recorded["output.prob"], rtol=0, atol=2e-5)


def test_f_lstm_reads_real_values(records):
    torch.manual_seed(0)
    model = FLSTM(records.widths, Model())
    batch = records.stay_batch([records.stay() for _ in range(3)])
    for kind in ("feature", "demographic"):
        ones = torch.ones(batch[f"{kind}_ids"].numel())
        torch.testing.assert_close(model(batch), model({**batch, f"{kind}_values": ones}))
        doubled = model({**batch, f"{kind}_values": 2 * ones})
        assert (model(batch) - doubled).abs().max() > 0
