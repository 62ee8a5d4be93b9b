from dataclasses import replace

import pytest
import torch

from medhmp.model.admission import (
    AdmissionEncoder,
    MaskedCodePrediction,
    draw_salts,
    masks_of,
    squared_error_of_sets,
)
from medhmp.model.sparse import Sparse
from medhmp.model.starts import NOTE_PROJECTION
from medhmp.run import Model

pytestmark = pytest.mark.usefixtures("float64")
MODEL = Model(width=8, demographic_hidden=5)


def dense_codes(batch, kind, vocabulary):
    rows = batch[f"{kind}_offsets"].numel() - 1
    dense = torch.zeros(rows, vocabulary)
    row = torch.repeat_interleave(torch.arange(rows), batch[f"{kind}_offsets"].diff())
    dense[row, batch[f"{kind}_ids"]] = 1
    return dense


def drawn(batch, rate, seed=0):
    salts = draw_salts(torch.Generator().manual_seed(seed))
    return masks_of(batch, rate, salts)


def test_stays_are_aggregated_in_their_slots(records):
    """Eq. 4 with zeros for absent stays."""
    torch.manual_seed(0)
    encoder = AdmissionEncoder(records.widths, MODEL)
    admissions = [records.admission(i, stays) for i, stays in enumerate((2, 0, 3))]
    s, has_stay = encoder.aggregate_stays(records.admission_batch(admissions))
    for row, admission in enumerate(admissions):
        b = torch.zeros(3, 8)
        for slot, stay in enumerate(admission.stays):
            b[slot] = encoder.stay(records.stay_batch([stay]))[0]
        torch.testing.assert_close(
            s[row], encoder.aggregate.weight @ b.flatten() + encoder.aggregate.bias
        )
    assert has_stay.tolist() == [True, False, True]


def test_absent_stays_are_not_encoded(records):
    encoder, encoded = AdmissionEncoder(records.widths, MODEL), []
    encoder.stay.register_forward_hook(lambda _, __, b: encoded.append(len(b)))
    encoder(records.admission_batch([records.admission(i, i) for i in range(4)]))
    assert encoded == [0 + 1 + 2 + 3]


def test_presence_follows_the_data(records):
    admissions = [
        records.admission(0),
        records.admission(1, stays=0),
        records.admission(2, icd=False),
        records.admission(3, drugs=False),
        records.admission(4, note=False),
    ]
    _, present = AdmissionEncoder(records.widths, MODEL).tokens(records.admission_batch(admissions))
    absent = (~present).nonzero().tolist()
    assert absent == [[1, 0], [2, 1], [3, 2], [4, 3]]


def test_a_missing_note_has_no_influence(records):
    torch.manual_seed(0)
    encoder = AdmissionEncoder(records.widths, MODEL)
    batch = records.admission_batch([records.admission(0), records.admission(1, note=False)])
    a = encoder(batch)
    batch["note"] = batch["note"].index_fill(0, torch.tensor([1]), 3.0)
    assert torch.equal(encoder(batch), a)


@pytest.mark.parametrize("width", [1, 48, 1024])
def test_the_note_may_have_any_width(records, width):
    encoder = AdmissionEncoder(replace(records.widths, note=width), MODEL)
    batch = records.admission_batch([records.admission(0), records.admission(1, note=False)])
    batch["note"] = torch.randn(2, width)
    moved = {**batch, "note": batch["note"] + 1}
    assert encoder.state_dict()[NOTE_PROJECTION].shape == (MODEL.width, width)
    assert (encoder(batch) != encoder(moved)).any(1).tolist() == [True, False]


def test_admissions_do_not_see_each_other(records):
    torch.manual_seed(0)
    encoder = AdmissionEncoder(records.widths, MODEL)
    admissions, order = [records.incomplete(i) for i in range(6)], [5, 2, 0, 1, 4, 3]
    a = encoder(records.admission_batch(admissions))
    permuted = encoder(records.admission_batch([admissions[i] for i in order]))
    torch.testing.assert_close(permuted, a[order])


def test_leaving_one_out_is_not_having_it(records):
    torch.manual_seed(0)
    encoder = AdmissionEncoder(records.widths, MODEL)
    admissions = [records.incomplete(i) for i in range(8)] + [
        records.admission(8, 0, drugs=False, note=False)
    ]
    rest, has_rest = encoder.leave_one_out(*encoder.tokens(records.admission_batch(admissions)))
    for r, without in enumerate(({"icd": []}, {"drugs": []}, {"note": None})):
        batch = records.admission_batch([replace(a, **without) for a in admissions])
        torch.testing.assert_close(rest[:, r], encoder(batch))
        assert has_rest[:, r].equal(encoder.tokens(batch)[1].any(1))
    assert not has_rest[8, 0]


def test_masked_codes_are_removed(records):
    torch.manual_seed(0)
    encoder = AdmissionEncoder(records.widths, MODEL)
    admissions = [records.admission(i) for i in range(5)]
    batch = records.admission_batch(admissions)
    masks = drawn(batch, 0.4)
    tokens, _ = encoder.tokens(batch)
    masked = encoder.mask_codes(tokens, batch, masks)
    left = []
    for kind, mask in zip(("icd", "drug"), masks, strict=True):
        ids = iter(zip(batch[f"{kind}_ids"].tolist(), mask.tolist(), strict=True))
        sizes = batch[f"{kind}_offsets"].diff().tolist()
        left.append([[i for i, gone in (next(ids) for _ in range(n)) if not gone] for n in sizes])
    fewer = [
        replace(a, icd=icd, drugs=drugs) for a, icd, drugs in zip(admissions, *left, strict=True)
    ]
    expected, _ = encoder.tokens(records.admission_batch(fewer))
    torch.testing.assert_close(masked, expected)


def test_masks_have_their_rate_and_repeat_and_differ(records):
    batch = records.admission_batch([records.admission(i) for i in range(400)])
    masks = drawn(batch, 0.15)
    for mask, kind in zip(masks, ("icd", "drug"), strict=True):
        n = batch[f"{kind}_ids"].numel()
        assert mask.numel() == n
        assert mask.sum().item() == pytest.approx(0.15 * n, abs=4 * (0.15 * 0.85 * n) ** 0.5)
    assert all(map(torch.equal, masks, drawn(batch, 0.15)))
    assert not torch.equal(masks[0], drawn(batch, 0.15, seed=1)[0])
    codes = [masks[0][batch["icd_ids"] == code].double().mean().item() for code in range(40)]
    assert min(codes) > 0
    assert max(codes) < 0.5


def test_masks_do_not_depend_on_the_rest_of_the_batch(records):
    admissions = [records.admission(i) for i in range(6)]
    whole = drawn(records.admission_batch(admissions), 0.5)
    halves = [
        drawn(records.admission_batch(part), 0.5) for part in (admissions[:2], admissions[2:])
    ]
    for kind in range(2):
        assert torch.equal(whole[kind], torch.cat([half[kind] for half in halves]))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_masked_code_loss_is_equation_9(records, reduction):
    torch.manual_seed(0)
    predict = MaskedCodePrediction(records.widths, replace(MODEL, mcp_reduction=reduction))
    admissions = [records.admission(0), records.admission(1, drugs=False), records.admission(2)]
    batch, a = records.admission_batch(admissions), torch.randn(3, 8)
    masks = drawn(batch, 0.5)
    c, g = dense_codes(batch, "icd", 40), dense_codes(batch, "drug", 20)
    for target, kind, mask in ((c, "icd", masks[0]), (g, "drug", masks[1])):
        row = torch.repeat_interleave(torch.arange(3), batch[f"{kind}_offsets"].diff())
        target[row[~mask], batch[f"{kind}_ids"][~mask]] = 0
    error_c = (predict.diagnoses(a).sigmoid() - c).square()
    error_g = (predict.drugs(a).sigmoid() - g).square()[[0, 2]]  # the second has no drugs
    if reduction == "mean":
        expected = error_c.mean() + error_g.mean()
    else:
        expected = error_c.sum(1).mean() + error_g.sum(1).mean()
    torch.testing.assert_close(predict(a, batch, masks), expected)


def test_no_code_is_a_target_unless_masked(records):
    """The authors' code sets the last drug as a target of every admission; ours must not."""
    predict = MaskedCodePrediction(records.widths, MODEL)
    torch.nn.init.zeros_(predict.drugs.weight)
    batch = records.admission_batch([records.admission(i) for i in range(20)])
    nothing = tuple(
        torch.zeros(batch[f"{k}_ids"].numel(), dtype=torch.bool) for k in ("icd", "drug")
    )
    predict(torch.zeros(20, 8), batch, nothing).backward()
    p = predict.drugs.bias.sigmoid()
    # The gradient of the mean of p^2: towards zero for every drug, the last one included.
    torch.testing.assert_close(predict.drugs.bias.grad, 2 * p * p * (1 - p) / 20)


def test_predictions_begin_rare(records):
    """Else the first steps would move all admissions one way to lower every code at once."""
    torch.manual_seed(0)
    predict = MaskedCodePrediction(records.widths, MODEL)
    batch = records.admission_batch([records.admission(i) for i in range(20)])
    nothing = tuple(
        torch.zeros(batch[f"{k}_ids"].numel(), dtype=torch.bool) for k in ("icd", "drug")
    )
    a = torch.randn(20, 8)
    assert predict(a, batch, nothing) < 2 * 0.02**2  # 0.5 from one half


def test_squared_error_of_sets_has_the_gradient_of_the_dense_form():
    torch.manual_seed(0)
    on = torch.rand(6, 9) < 0.4
    chosen = torch.rand(int(on.sum())) < 0.5
    offsets = torch.nn.functional.pad(on.sum(1).cumsum(0), (1, 0))
    logits, weight = torch.randn(6, 9, requires_grad=True), torch.randn(6)
    target = torch.zeros(6, 9)
    target[on] = chosen.double()
    ours = squared_error_of_sets(logits, Sparse(on.nonzero()[:, 1], offsets, 9), chosen)
    theirs = (logits.sigmoid() - target).square().sum(1)
    torch.testing.assert_close(ours, theirs)
    (mine,) = torch.autograd.grad(ours @ weight, [logits])
    (other,) = torch.autograd.grad(theirs @ weight, [logits])
    torch.testing.assert_close(mine, other)


def test_the_prior_of_codes_is_a_field(records):
    def biases(prior):
        torch.manual_seed(0)
        predict = MaskedCodePrediction(records.widths, replace(MODEL, code_prior=prior))
        return torch.cat([predict.diagnoses.bias, predict.drugs.bias]).sigmoid()

    assert biases(0.2).tolist() == pytest.approx([0.2] * len(biases(0.2)))
    assert (biases(None) - 0.5).abs().max() < 0.15  # PyTorch's own
    assert len(set(biases(None).tolist())) > 1
