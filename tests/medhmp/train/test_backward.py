"""Batches in chunks: nothing but memory may tell that they were cut."""

from dataclasses import replace

import pytest
import torch

from medhmp.model.admission import count_coded, draw_salts, masks_of
from medhmp.run import Model
from medhmp.train.backward import backward, cut_batch
from medhmp.train.objective import Pairs, build_admission_pretraining, build_stay_pretraining

MODEL = Model(width=8, demographic_hidden=5)


def objective_of(records, model=MODEL, build=build_admission_pretraining):
    torch.manual_seed(0)
    objective = build(model, records.widths)
    if build is build_admission_pretraining:
        objective.masks.manual_seed(3)
    return objective


def gradients_of(objective):
    return {name: parameter.grad for name, parameter in objective.named_parameters()}


def assert_same(ours, theirs, tolerance=1e-6):
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        assert (ours[name] - expected).norm() <= tolerance * expected.norm(), name


def admissions_of(records, rows):
    """Patients repeat and modalities are missing; of a row in the middle, everything."""
    admissions = [records.incomplete(i % 9) for i in range(rows)]
    admissions[rows // 2] = records.admission(99, 0, icd=False, drugs=False, note=False)
    return records.admission_batch(admissions, dtype=torch.float32)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("chunks", [1, 2, 8])
def test_cached_gradients_are_those_of_the_whole_batch(records, chunks, reduction):
    model = replace(MODEL, mcp_reduction=reduction, code_weight=0.7)
    batch = admissions_of(records, 40)
    whole, cached = objective_of(records, model), objective_of(records, model)
    loss, report = backward(whole, batch)
    ours, our_report = backward(cached, batch, chunk=40 // chunks)
    assert_same(our_report, report)
    torch.testing.assert_close(ours, loss)
    assert_same(gradients_of(cached), gradients_of(whole))
    assert torch.equal(cached.masks.get_state(), whole.masks.get_state())


def test_a_last_chunk_may_be_smaller(records):
    batch = admissions_of(records, 23)
    whole, cached = objective_of(records), objective_of(records)
    _, report = backward(whole, batch)
    assert_same(backward(cached, batch, chunk=9)[1], report)
    assert_same(gradients_of(cached), gradients_of(whole))


def test_dropout_draws_the_same_in_both_passes(records):
    """Against one graph over the chunks' encodings, with the draws that the first pass makes."""
    model = replace(MODEL, encoder_layers=3)
    batch = admissions_of(records, 24)
    cached, whole = objective_of(records, model), objective_of(records, model)
    torch.manual_seed(7)
    _, report = backward(cached, batch, chunk=8)
    after = torch.rand(())
    torch.manual_seed(7)
    salts, coded, encoded = draw_salts(whole.masks), count_coded(batch), []
    codes = 0
    for part in cut_batch(batch, 8, model.max_stays):
        tokens, present = whole.admission.tokens(part)
        masks = masks_of(part, model.mask_rate, salts)
        masked = whole.admission.mask_codes(tokens, part, masks)
        codes += whole.masked_codes(whole.admission.fusion(masked, present), part, masks, coded)
        encoded.append(whole.pairs(tokens, present, part["subject_id"]))
    pairs = Pairs(*(torch.cat(of) for of in zip(*(vars(p).values() for p in encoded), strict=True)))
    loss, expected = whole.total(codes, whole.contrast(pairs))
    loss.backward()
    assert_same(report, expected)
    assert_same(gradients_of(cached), gradients_of(whole))
    assert torch.equal(after, torch.rand(()))


@pytest.mark.parametrize("chunk", [1, 3, 8])
def test_stays_in_chunks_are_the_whole_batch(records, chunk):
    batch = {
        **records.stay_batch([records.stay() for _ in range(8)]),
        "subject_id": torch.arange(8),
    }
    whole, parts = (objective_of(records, build=build_stay_pretraining) for _ in range(2))
    loss, report = backward(whole, batch)
    ours, our_report = backward(parts, batch, chunk=chunk)
    torch.testing.assert_close(ours, loss)
    assert_same(our_report, report)
    assert_same(gradients_of(parts), gradients_of(whole))


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize(("rows", "size"), [(1, 1), (7, 1), (7, 3), (8, 4), (9, 20)])
def test_chunks_are_batches_of_their_rows(records, rows, size, real):
    def batch_of(admissions):
        batch = records.admission_batch(admissions)
        return batch | ({"feature_values": batch["feature_ids"] / 7} if real else {})

    admissions = [records.incomplete(i) for i in range(rows)]
    chunks = cut_batch(batch_of(admissions), size, 3)
    for at, chunk in zip(range(0, rows, size), chunks, strict=True):
        expected = batch_of(admissions[at : at + size])
        assert chunk.keys() == expected.keys()
        assert all(torch.equal(chunk[name], expected[name]) for name in expected)
