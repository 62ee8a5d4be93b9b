"""The objectives, and their equality over processes.

Run as a program this file is one of those processes: ``test_objective.py FOLDER RANK``.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from medhmp.batch import NUMBERS, STATISTICS
from medhmp.legend import Widths
from medhmp.model.baselines.f_lstm import FLSTM
from medhmp.model.heads import AdmissionClassifier, PatientLSTM, StayClassifier
from medhmp.run import Model, Run
from medhmp.train.backward import backward
from medhmp.train.objective import (
    UNREAD,
    AdmissionPretraining,
    build_admission_pretraining,
    build_classifier,
    build_number_pretraining,
    build_stay_pretraining,
    model_fields,
    seed_step,
)

MODEL = Model(width=8, demographic_hidden=5)


@dataclass(frozen=True)
class Case:
    dtype: torch.dtype
    stage: Literal["stay", "admission"] = "admission"
    denominator: Literal["exclude_positive", "include_positive"] = "exclude_positive"
    reduction: Literal["mean", "sum"] = "mean"
    chunk: int | None = None


CASES = [
    Case(torch.float64),
    Case(torch.float64, denominator="include_positive", reduction="sum"),
    Case(torch.float64, chunk=5),
    Case(torch.float32),
    Case(torch.float32, chunk=7),
    Case(torch.float32, "stay"),
    Case(torch.float32, "stay", chunk=3),
]
WORLDS = (1, 2, 3, 4, 5)  # 60 rows are a multiple of each
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-6}


def step(batch, widths, case, wrap=lambda objective: objective):
    """One pass from fixed weights: its report and every gradient."""
    torch.manual_seed(0)
    model = replace(MODEL, nce_denominator=case.denominator, mcp_reduction=case.reduction)
    if case.stage == "stay":
        objective = build_stay_pretraining(model, widths).to(case.dtype)
    else:
        objective = build_admission_pretraining(model, widths).to(case.dtype)
        objective.masks.manual_seed(1)
    batch = {name: x.to(case.dtype) if x.is_floating_point() else x for name, x in batch.items()}
    _, report = backward(wrap(objective), batch, chunk=case.chunk)
    gradients = {name: parameter.grad for name, parameter in objective.named_parameters()}
    return report, gradients


def process(folder: Path, rank: int) -> None:
    """Takes its rows through each case under DistributedDataParallel and writes what came out."""
    widths = Widths(**torch.load(folder / "widths.pt", weights_only=True))
    for world in WORLDS:
        if rank >= world:
            continue
        store = f"file://{folder}/rendezvous-{world}"
        dist.init_process_group("gloo", store, rank=rank, world_size=world)
        results = []
        for case in CASES:
            name = f"{case.stage}-{world}-{rank}.pt"
            batch = torch.load(folder / name, weights_only=True)
            report, gradients = step(batch, widths, case, DistributedDataParallel)
            for term in report.values():
                dist.all_reduce(term)
                term /= world
            results.append((report, gradients))
        torch.save(results, folder / f"result-{world}-{rank}.pt")
        dist.destroy_process_group()


def test_processes_give_the_loss_and_gradients_of_one(records, tmp_path, run_ranks):
    """Losses of the same rows, whole or in chunks, for 1 to 5 processes."""
    # Patients repeat, some on other processes; modalities are missing; one process has no drugs.
    admissions = [records.incomplete(subject=i % 50) for i in range(60)]
    admissions[:16] = [replace(admission, drugs=[]) for admission in admissions[:16]]
    stays = [records.stay() for _ in range(60)]
    torch.save(vars(records.widths), tmp_path / "widths.pt")
    rows = {"admission": (records.admission_batch, admissions), "stay": (stay_rows(records), stays)}
    for stage, (batch, every) in rows.items():
        for world in WORLDS:
            share = len(every) // world
            for rank in range(world):
                part = batch(every[rank * share : (rank + 1) * share])
                torch.save(part, tmp_path / f"{stage}-{world}-{rank}.pt")
    run_ranks(__file__, max(WORLDS))
    for number, case in enumerate(CASES):
        batch, every = rows[case.stage]
        report, gradients = step(batch(every), records.widths, replace(case, chunk=None))
        for result in tmp_path.glob("result-*.pt"):
            averaged = torch.load(result, weights_only=True)[number]
            assert_relative(averaged[0], report, TOLERANCE[case.dtype])
            assert_relative(averaged[1], gradients, TOLERANCE[case.dtype])
    assert len(list(tmp_path.glob("result-*.pt"))) == sum(WORLDS)


def stay_rows(records):
    return lambda stays: {
        **records.stay_batch(stays),
        "subject_id": torch.arange(len(stays)),
    }


def drawn(objective, batches, rank, seed=0, epoch=4, step=7):
    """The masks of stage two in the last of the batches, all seen in one step, and a number as
    dropout would draw it."""
    seen = []
    hook = objective.masked_codes.register_forward_pre_hook(lambda _, given: seen.append(given[2]))
    seed_step(objective, seed, epoch, step, rank)
    for batch in batches:
        objective(batch)
    hook.remove()
    return seen[-1], torch.rand(()).item()


def test_ranks_mask_alike_whatever_dropout_they_need(records):
    """Rank 1 has more stays, for which dropout draws more numbers, before a batch both have."""
    objective = build_admission_pretraining(replace(MODEL, encoder_layers=3), records.widths)
    few, many, last = (
        records.admission_batch([records.admission(i, n) for i in range(9)], dtype=torch.float32)
        for n in (1, 3, 2)
    )
    masks, number = drawn(objective, [few, last], rank=0)
    others, other_number = drawn(objective, [many, last], rank=1)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(masks, others, strict=True))
    assert number != other_number
    again, same_number = drawn(objective, [few, last], rank=0)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(masks, again, strict=True))
    assert number == same_number
    for other in ({"seed": 1}, {"epoch": 5}, {"step": 8}):
        new, _ = drawn(objective, [few, last], rank=0, **other)
        assert not torch.equal(masks[0], new[0])


def assert_relative(ours, theirs, tolerance):
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        assert (ours[name] - expected).norm() <= tolerance * expected.norm(), name


def test_every_parameter_of_stage_two_learns(records):
    batch = records.admission_batch([records.admission(i, stays=1 + i % 3) for i in range(60)])
    _, gradients = step(batch, records.widths, CASES[0])
    assert all(gradient.abs().max() > 0 for gradient in gradients.values())


def test_rows_may_come_in_any_order(records):
    admissions = [records.incomplete(i % 12) for i in range(16)]
    forward, backward = (
        step(records.admission_batch(rows), records.widths, CASES[0])
        for rows in (admissions, admissions[::-1])
    )
    for ours, theirs in zip(forward, backward, strict=True):
        assert_relative(ours, theirs, 1e-9)


@pytest.mark.usefixtures("float64")
def test_stage_two_is_equation_11(records):
    model = replace(MODEL, code_weight=0.6, contrast_weight=0.3)
    objective = AdmissionPretraining(records.widths, model)
    loss, report = objective(records.admission_batch([records.admission(i) for i in range(4)]))
    torch.testing.assert_close(loss, 0.6 * report["masked_codes"] + 0.3 * report["contrast"])
    assert torch.equal(loss, report["loss"])
    assert not any(term.requires_grad for term in report.values())


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("codes", "contrast"), [(1.0, 0.0), (0.0, 0.1)])
def test_a_term_of_weight_zero_teaches_nothing(records, codes, contrast):
    """The rows of Table 7: gradients are those of the other term alone."""
    model = replace(MODEL, code_weight=codes, contrast_weight=contrast)
    batch = records.admission_batch([records.admission(i) for i in range(4)])
    torch.manual_seed(0)
    objective = AdmissionPretraining(records.widths, model)
    objective.masks.manual_seed(0)
    loss, report = objective(batch)
    torch.testing.assert_close(loss, codes * report["masked_codes"] + contrast * report["contrast"])
    loss.backward()
    predictor = [p.grad for p in objective.masked_codes.parameters()]
    assert all(bool(gradient.count_nonzero()) == bool(codes) for gradient in predictor)
    assert any(bool(p.grad.count_nonzero()) for p in objective.admission.parameters())


@pytest.mark.usefixtures("float64")
def test_stage_two_survives_a_batch_with_nothing_to_learn_from(records):
    """One patient alone, without codes or notes: no mask, no negative, and a loss of zero."""
    objective = build_admission_pretraining(MODEL, records.widths)
    empty = records.admission(0, stays=0, icd=False, drugs=False, note=False)
    loss, _ = objective(records.admission_batch([empty, empty]))
    loss.backward()
    assert loss == 0
    assert all(torch.count_nonzero(p.grad) == 0 for p in objective.parameters())


@pytest.mark.usefixtures("float64")
def test_stage_one_is_equation_3(records):
    torch.manual_seed(0)
    objective, stays = build_stay_pretraining(MODEL, records.widths), [records.stay() for _ in "ab"]
    loss, report = objective(records.stay_batch(stays))
    m = torch.zeros(2, records.widths.hours, records.widths.features)
    for s, stay in enumerate(stays):
        for t, features in enumerate(stay.hours):
            m[s, t, features] = 1
    decoder = objective.decoder
    error = (m - decoder.output(decoder(objective.stay(records.stay_batch(stays))))).square()
    torch.testing.assert_close(loss, error.sum(2).mean())
    torch.testing.assert_close(report["per_feature"], error.mean())
    loss.backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in objective.parameters())


def test_both_stages_learn(records):
    torch.manual_seed(0)
    stays = records.stay_batch([records.stay() for _ in range(16)])
    admissions = [records.admission(i) for i in range(16)]
    batch = records.admission_batch(admissions, dtype=torch.float32)
    for build, on in ((build_stay_pretraining, stays), (build_admission_pretraining, batch)):
        objective = build(MODEL, records.widths)
        optimizer = torch.optim.AdamW(objective.parameters(), lr=1e-2)
        losses = []
        for _ in range(30):
            loss, _ = objective(on)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.8 * losses[0]


OTHER = Model(
    demographic_hidden=7,
    encoder_layers=3,
    forget_gates="halving",
    max_stays=5,
    mask_rate=0.5,
    temperature=0.9,
    code_weight=0.4,
    contrast_weight=0.7,
    mcp_reduction="sum",
    nce_denominator="include_positive",
    head_dropout=0.5,
    code_prior=0.3,
)


def losses(records, kind, model):
    """The first losses of what an objective trains, from the same seed."""
    widths = records.widths
    stays = records.stay_batch([records.stay() for _ in range(4)])
    batch = {**stays, "label": torch.tensor([0.0, 1, 1, 0])}
    if kind == "fit":
        torch.manual_seed(0)
        yield build_classifier("stay", "medhmp", model, widths)(batch)[0]
        batch = records.admission_batch([records.admission(i) for i in range(4)], model.max_stays)
        batch = {n: x.float() if x.is_floating_point() else x for n, x in batch.items()}
        batch["label"] = torch.tensor([0.0, 1, 1, 0])
        yield build_classifier("admission", "medhmp", model, widths)(batch)[0]
        patients = records.patient_batch([[records.ids(40)] for _ in range(4)])
        batch = {**patients, "label": batch["label"]}
        yield build_classifier("patient", "medhmp", model, widths)(batch)[0]
    elif kind == "pretrain_stay":
        torch.manual_seed(0)
        yield build_stay_pretraining(model, widths)(batch)[0]
    elif kind == "pretrain_numbers":
        torch.manual_seed(0)
        rows = 4 * widths.hours
        read = {
            NUMBERS.offsets: torch.arange(rows + 1),  # a reading in every hour
            NUMBERS.ids: torch.randint(4, (rows,)),
            NUMBERS.values: torch.randn(rows),
            STATISTICS: torch.rand(4, 3),
        }
        widths = replace(widths, numbers=4, statistics=3, statistic_of=(0, 1, 4))
        yield build_number_pretraining(model, widths)(batch | read)[0]
    else:
        torch.manual_seed(0)
        batch = records.admission_batch(
            [records.admission(i) for i in range(4)], model.max_stays, torch.float32
        )
        objective = build_admission_pretraining(model, widths)
        objective.masks.manual_seed(0)
        yield objective(batch)[0]


@pytest.mark.parametrize(
    ("kind", "field"), [(kind, field) for kind, fields in UNREAD.items() for field in fields]
)
def test_what_is_left_out_of_a_stamp_changes_nothing(records, kind, field):
    changed = replace(MODEL, **{field: getattr(OTHER, field)})
    assert changed != MODEL
    assert model_fields(Run(model=changed), kind) == model_fields(Run(model=MODEL), kind)
    assert list(losses(type(records)(), kind, changed)) == list(losses(records, kind, MODEL))


def test_classification_is_cross_entropy_of_its_scores(records):
    torch.manual_seed(0)
    objective = build_classifier("stay", "medhmp", MODEL, records.widths).eval()
    batch = records.stay_batch([records.stay() for _ in range(5)])
    batch["label"] = torch.tensor([0.0, 1, 1, 0, 1])
    loss, report = objective(batch)
    p = objective.model(batch).sigmoid()
    expected = -(batch["label"] * p.log() + (1 - batch["label"]) * (1 - p).log()).mean()
    torch.testing.assert_close(loss, expected)
    assert report["loss"] == loss
    assert not report["loss"].requires_grad


def test_each_level_has_its_network(records):
    kinds = {"stay": StayClassifier, "admission": AdmissionClassifier, "patient": PatientLSTM}
    for level in kinds:
        objective = build_classifier(level, "medhmp", Run().model, records.widths)
        assert type(objective.model) is kinds[level]
    assert type(build_classifier("stay", "f_lstm", MODEL, records.widths).model) is FLSTM


if __name__ == "__main__":
    process(Path(sys.argv[1]), int(sys.argv[2]))
