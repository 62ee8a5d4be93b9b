"""Which cells a grid has, what they depend on, and which of them is chosen."""

from dataclasses import replace

import pytest

from medhmp.layout import STARTED_FROM
from medhmp.legend import LEVELS
from medhmp.recipes import smoke
from medhmp.refusal import Refusal
from medhmp.run import Tune
from medhmp.shards.manifest import content_of
from medhmp.storage import Folder, Stamp, fingerprint, publish
from medhmp.train.finetune.grid import Cell, Grid, choose, grids, is_whole

ALL_STARTS = ("none", "stay", "admission", "both", "shuffled")
TUNE = Tune(
    starts=ALL_STARTS,
    batch_sizes=(16, 32),
    learning_rates=(1e-3, 5e-3),
    none_learning_rates=(5e-3, 5e-2),
)


@pytest.fixture
def run(tmp_path):
    """A run whose shards, notes and pretrainings are whole, if nearly empty."""
    root = Folder(str(tmp_path))
    content = Stamp(content_of(smoke(), ()), {})
    publish(root / "shards", content, [root.write_bytes("shards/manifest.json", b"{}")])
    publish(root / "shards" / "note_embeddings", Stamp({}, {}), [])
    shards = {"shards": fingerprint(root / "shards", "featurize")}
    for place in STARTED_FROM.values():
        weights = (root / place).write_bytes("model.safetensors", place.encode())
        publish(root / place, Stamp({"pretrain_on": "train"}, shards), [weights])
    return replace(smoke(), out=str(tmp_path), tune=TUNE)


def grid(model="medhmp", start="both", task="mortality"):
    return Grid(task, model, start, Folder("/nowhere"), Stamp({}, {}), {})


def points(run, **kind):
    return [(cell.batch_size, cell.learning_rate) for cell in grid(**kind).cells(run)]


def test_a_task_on_stays_has_a_grid_for_every_start_and_each_baseline_once(run):
    assert [(g.model, g.start) for g in grids(run, "mortality")] == [
        *(("medhmp", start) for start in ALL_STARTS),
        ("f_lstm", "none"),
        ("hist_gradient_boosting", "none"),
    ]


def test_a_task_on_admissions_has_no_f_lstm(run):
    assert [(g.model, g.start) for g in grids(run, "readmission")] == [
        *(("medhmp", start) for start in ALL_STARTS),
        ("hist_gradient_boosting", "none"),
    ]


def test_a_patient_task_has_no_start_from_stage_one(run):
    starts = [g.start for g in grids(run, "heart_failure") if g.model == "medhmp"]
    assert starts == ["none", "admission", "both", "shuffled"]


def test_every_grid_has_a_folder_of_its_own(run):
    folders = [g.folder.uri for task in LEVELS for g in grids(run, task)]
    assert len(folders) == len(set(folders))
    assert f"{run.out}/tune/arf/medhmp/both" in folders


def test_cells_are_every_batch_size_at_every_rate(run):
    assert points(run) == [(16, 1e-3), (16, 5e-3), (32, 1e-3), (32, 5e-3)]
    names = [cell.name for cell in grid().cells(run)]
    assert names == [f"batch-{b}-lr-{lr}" for b in (16, 32) for lr in ("0.001", "0.005")]


@pytest.mark.parametrize("start", ALL_STARTS)
def test_more_rates_go_to_the_random_start_alone(run, start):
    rates = [rate for batch_size, rate in points(run, start=start) if batch_size == 16]
    assert rates == ([1e-3, 5e-3, 5e-2] if start == "none" else [1e-3, 5e-3])


def test_baselines_search_their_own_grids(run):
    rates = [rate for batch, rate in points(run, model="f_lstm", start="none") if batch == 16]
    assert rates == [1e-4, 1e-3, 1e-2]  # as published (Tang et al. 2020)
    assert points(run, model="hist_gradient_boosting", start="none") == [(0, 0.0)]


def test_a_cells_spec_differs_in_the_seed_alone(run):
    cell = grid(start="admission").cells(run)[1]
    one, two = cell.spec(0), cell.spec(1)
    assert (one.task, one.model, one.start) == ("mortality", "medhmp", "admission")
    assert (one.batch_size, one.learning_rate) == (16, 5e-3)
    assert replace(one, seed=1) == two


def test_more_rates_for_the_random_start_make_no_other_grid_anew(run):
    other = replace(run, tune=replace(TUNE, none_learning_rates=()))
    for before, after in zip(grids(run, "arf"), grids(other, "arf"), strict=True):
        other = (before.model, before.start) != ("medhmp", "none")
        assert (before.stamp.hash == after.stamp.hash) == other


def with_rates(run, *rates):
    return replace(run, tune=replace(run.tune, learning_rates=rates))


@pytest.mark.parametrize("start", ["none", "both"])
def test_a_cell_depends_on_its_own_point_and_not_on_the_others(run, start):
    few, many, longer = (
        next(g for g in grids(of, "arf") if g.start == start)
        for of in (
            with_rates(run, 1e-3),
            with_rates(run, 1e-3, 1e-2),
            replace(with_rates(run, 1e-3), finetune=replace(run.finetune, epochs=99)),
        )
    )
    assert len({grid.stamp.hash for grid in (few, many, longer)}) == 3
    before = {cell.name: cell.stamp.hash for cell in few.cells(with_rates(run, 1e-3))}
    after = {cell.name: cell.stamp.hash for cell in many.cells(with_rates(run, 1e-3, 1e-2))}
    assert before.items() < after.items()
    assert len(set(after.values())) == len(after)
    other = {cell.name: cell.stamp.hash for cell in longer.cells(with_rates(run, 1e-3))}
    assert before.keys() == other.keys()
    assert not set(before.values()) & set(other.values())


def test_rates_of_medhmp_make_no_baseline_anew(run):
    pairs = zip(grids(run, "arf"), grids(with_rates(run, 0.5), "arf"), strict=True)
    same = {before.model for before, after in pairs if before.stamp.hash == after.stamp.hash}
    assert same == {"f_lstm", "hist_gradient_boosting"}


def test_a_grid_of_another_search_is_opened_again_on_demand_and_keeps_its_cells(run):
    first, *_ = grids(run, "arf")
    record = first.folder.write_json("trials/batch-16-lr-0.001.json", {"hash": "of the cell"})
    publish(first.folder, first.stamp, [record])
    assert is_whole(first, overwrite=False)
    assert is_whole(first, overwrite=True)
    other, *_ = grids(with_rates(run, 1e-3, 1e-2), "arf")
    with pytest.raises(Refusal, match=r"tune\.learning_rates was .* pass --overwrite"):
        is_whole(other, overwrite=False)
    assert not is_whole(other, overwrite=True)
    assert other.folder.names() == ["trials/batch-16-lr-0.001.json"]


def test_a_grid_depends_on_its_own_start_and_on_notes_only_where_they_are_read(run):
    by_start = {g.start: g.stamp.inputs for g in grids(run, "arf") if g.model == "medhmp"}
    assert "start" not in by_start["none"]
    found = [by_start[start]["start"] for start in ALL_STARTS[1:]]
    assert len(set(found)) == 4
    for task in LEVELS:
        reads = {"note_embeddings" in g.stamp.inputs for g in grids(run, task)}
        assert reads == {LEVELS[task] == "admission"}


def test_weights_that_saw_all_patients_are_refused_by_a_run_that_does_not_say_so(run):
    with pytest.raises(Refusal, match="made with pretrain_on 'train' and this run has 'all'"):
        grids(replace(run, pretrain_on="all"), "mortality")


def test_weights_pretrained_on_other_shards_are_refused(run):
    publish(Folder(run.out) / "shards", Stamp(content_of(run, ()), {}), [])
    with pytest.raises(Refusal, match="other shards"):
        grids(run, "mortality")


def recorded(*losses):
    cells = [Cell(grid(), 16, 10.0**-place) for place in range(len(losses))]
    return [(cell, {"mean_val_loss": loss}) for cell, loss in zip(cells, losses, strict=True)]


def test_the_cell_of_lowest_mean_loss_is_chosen_and_the_first_of_equals():
    records = recorded(0.7, 0.4, 0.5, 0.4)
    assert choose(records) == records[1]


def test_a_cell_of_which_a_seed_diverged_is_never_chosen():
    records = recorded(None, 0.9, None)
    assert choose(records) == records[1]
    with pytest.raises(Refusal, match="every cell of mortality medhmp both diverged; lower"):
        choose(recorded(None, None))
