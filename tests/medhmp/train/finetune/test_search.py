"""Cells of a grid, what they depend on, and which of them is chosen."""

from dataclasses import replace

import pytest

from medhmp.layout import STARTED_FROM
from medhmp.legend import LEVELS
from medhmp.model.catalog import MODELS as CATALOG
from medhmp.progress import Progress
from medhmp.recipes import RECIPES, smoke
from medhmp.refusal import Refusal
from medhmp.replacing import room_for
from medhmp.run import Tune
from medhmp.shards.manifest import OpenShards, content_of
from medhmp.storage import Folder, Stamp, opened, publish
from medhmp.train.finetune.grid import _to_fit, choose, pending
from medhmp.train.finetune.inputs import FitInputs
from medhmp.train.finetune.search import Cell, Grid, grids_of
from tests.manifests import manifest

MODELS = ("medhmp", "f_lstm", "hist_gradient_boosting")
ALL_STARTS = ("none", "stay", "admission", "both", "shuffled")
SEARCH = ("medhmp.batch_size=16,32", "medhmp.learning_rate=1e-3,5e-3")
MORE = "medhmp/none.learning_rate=1e-3,5e-3,5e-2"
PATIENTS = {"pretrain_on": "train", "pretrain_sources": []}
TUNE = Tune(models=MODELS, starts=ALL_STARTS, search=(*SEARCH, MORE), replicates=2)


@pytest.fixture
def run(tmp_path):
    """A run whose shards, notes and pretrainings are whole, if nearly empty."""
    root = Folder(str(tmp_path))
    content = Stamp(content_of(smoke(), ()), {})
    publish(root / "shards", content, [(root / "shards").write_bytes("manifest.json", b"{}")])
    publish(root / "shards" / "note_embeddings", Stamp({}, {}), [])
    shards = {"shards": opened(root / "shards", "featurize").fingerprint}
    for place in STARTED_FROM.values():
        weights = (root / place).write_bytes("model.safetensors", place.encode())
        publish(root / place, Stamp(PATIENTS, shards), [weights])
    return replace(smoke(), out=str(tmp_path), tune=TUNE)


def grids(run, task):
    shards = OpenShards(opened(Folder(run.out) / "shards", "featurize"), manifest())
    return grids_of(run, task, FitInputs(run, shards))


def grid(model="medhmp", start="both", task="mortality", tune=TUNE):
    search = tune.searched(model, start)
    return Grid(task, model, start, Folder("/nowhere"), Stamp({}, {}), search, replicates=2)


def points(**kind):
    return [tuple(cell.point.values()) for cell in grid(**kind).cells]


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


def test_cells_are_every_batch_size_at_every_rate():
    assert points() == [(16, 1e-3), (16, 5e-3), (32, 1e-3), (32, 5e-3)]
    names = [cell.name for cell in grid().cells]
    assert names == [f"batch-{b}-lr-{lr}" for b in (16, 32) for lr in ("0.001", "0.005")]


@pytest.mark.parametrize("start", ALL_STARTS)
def test_more_rates_go_to_the_random_start_alone(start):
    rates = [rate for batch_size, rate in points(start=start) if batch_size == 16]
    assert rates == ([1e-3, 5e-3, 5e-2] if start == "none" else [1e-3, 5e-3])


def test_baselines_search_their_own_grids():
    rates = [rate for batch, rate in points(model="f_lstm", start="none") if batch == 16]
    assert set(rates) > {1e-4, 1e-3, 1e-2}  # as published (Tang et al. 2020)


def test_a_model_with_nothing_to_search_has_one_cell():
    (cell,) = grid("logistic_regression", "none").cells
    assert (cell.name, cell.point) == ("default", {})
    assert cell.files == ["default-seed-0.skops", "default-seed-1.skops"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_no_baseline_network_has_fewer_cells_than_medhmp(recipe):
    """For any start of MedHMP, and boosting about a dozen."""
    tune, level = RECIPES[recipe]().tune, "stay"

    def cells(model, start="none"):
        return len(grid(model, start, tune=tune).cells)

    most = max(cells("medhmp", start) for start in ALL_STARTS)
    networks = [m for m, entry in CATALOG.items() if entry.is_network and level in entry.builders]
    assert len(networks) > 1
    assert all(cells(model) >= most for model in networks)
    assert cells("hist_gradient_boosting") >= 12


def test_other_fields_are_named_as_they_are():
    searched = {"depth": (2, 4), "learning_rate": (0.1,)}
    names = [cell.name for cell in replace(grid(), search=searched).cells]
    assert names == ["depth-2-lr-0.1", "depth-4-lr-0.1"]


def test_each_replicate_of_every_model_has_a_file(run):
    replicates = {g.model: g.replicates for g in grids(run, "mortality")}
    assert replicates == {"medhmp": 2, "f_lstm": 2, "hist_gradient_boosting": 2}
    files = [f"batch-16-lr-0.001-seed-{seed}.safetensors" for seed in range(2)]
    assert grid().cells[0].files == files


def test_more_rates_for_the_random_start_make_no_other_grid_anew(run):
    other = replace(run, tune=replace(TUNE, search=SEARCH))
    for before, after in zip(grids(run, "arf"), grids(other, "arf"), strict=True):
        other = (before.model, before.start) != ("medhmp", "none")
        assert (before.stamp.hash == after.stamp.hash) == other


def test_replicates_begin_from_the_pretrainings_that_there_are(run):
    """With more pretrainings than replicates the rest is no input."""
    root = Folder(run.out)
    for number in (1, 2):
        place = root / f"seed-{number}" / STARTED_FROM["stay"]
        weights = place.write_bytes("model.safetensors", str(number).encode())
        shards = {"shards": opened(root / "shards", "featurize").fingerprint}
        publish(place, Stamp(PATIENTS, shards), [weights])
    narrow = replace(TUNE, starts=("none", "stay"), models=("medhmp",))
    found = {}
    for seeds in (1, 2, 3):
        none, stay = grids(replace(run, tune=narrow, pretrain_seeds=seeds), "arf")
        assert none.stamp.inputs.keys() == {"shards"}
        found[seeds] = stay
    assert set(found[1].stamp.inputs) == {"shards", "start"}
    assert set(found[2].stamp.inputs) == {"shards", "start", "seed-1/start"}
    assert len(set(found[2].stamp.inputs.values())) == 3
    assert found[3].stamp.inputs == found[2].stamp.inputs  # of two replicates
    assert [grid.pretrainings for grid in found.values()] == [1, 2, 2]


def with_rates(run, *rates):
    searched = ",".join(map(str, rates))
    search = ("medhmp.batch_size=16,32", f"medhmp.learning_rate={searched}")
    return replace(run, tune=replace(run.tune, search=search))


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
    before = {cell.name: cell.stamp.hash for cell in few.cells}
    after = {cell.name: cell.stamp.hash for cell in many.cells}
    assert before.items() < after.items()
    assert len(set(after.values())) == len(after)
    other = {cell.name: cell.stamp.hash for cell in longer.cells}
    assert before.keys() == other.keys()
    assert not set(before.values()) & set(other.values())


def test_rates_of_medhmp_make_no_baseline_anew(run):
    pairs = zip(grids(run, "arf"), grids(with_rates(run, 0.5), "arf"), strict=True)
    same = {before.model for before, after in pairs if before.stamp.hash == after.stamp.hash}
    assert same == {"f_lstm", "hist_gradient_boosting"}


def test_a_grid_of_another_search_is_made_beside_the_old_one_and_takes_over_its_cells(run):
    first, *_ = grids(run, "arf")
    kept, *_ = first.cells
    files = [first.trials.write_bytes(name, b"weights") for name in kept.files]
    record = first.trials.write_record(kept.record, {"hash": kept.stamp.hash})
    lost = first.trials.write_record("batch-1-lr-1.json", {"hash": "of another cell"})
    entries = [replace(entry, name=f"trials/{entry.name}") for entry in (*files, record, lost)]
    publish(first.folder, first.stamp, entries)
    assert pending(first, False, Progress()) is pending(first, True, Progress()) is None
    other, *_ = grids(with_rates(run, *first.search["learning_rate"], 0.25), "arf")
    with pytest.raises(Refusal, match=r"tune\.search\.learning_rate was .* pass --overwrite"):
        pending(other, False, Progress())
    before = first.folder.names()
    made = pending(other, True, Progress())
    assert made.folder == Folder(f"{other.folder}.new")
    assert made.trials.names() == sorted([*kept.files, kept.record])
    assert first.folder.names() == before
    assert room_for(first.folder, first.stamp) is None


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


def test_cells_whose_record_or_model_has_changed_are_fitted_again(run, capsys):
    first, *_ = grids(with_rates(run, 1e-3, 1e-2), "arf")
    cells, progress = first.cells, Progress()
    assert _to_fit(first, progress) == cells

    def fit(cell, loss):
        files = {
            name: first.trials.write_bytes(name, f"{cell.name} {seed}".encode()).sha256
            for seed, name in enumerate(cell.files)
        }
        record = {"hash": cell.stamp.hash, "rows": [], "mean_val_loss": loss, "files": files}
        first.trials.write_record(cell.record, record)

    for cell, loss in zip(cells, (0.4, 0.5, 0.6, 0.7), strict=True):
        fit(cell, loss)
    assert _to_fit(first, progress) == []
    whole = first.trials.read_bytes(cells[1].record)
    for torn in (b"", whole[:-9], b"\0" * 9, b"[" * 10**5, whole.replace(b"0.5", b"0.1")):
        first.trials.write_bytes(cells[1].record, torn)
        assert _to_fit(first, progress) == [cells[1]]
    assert capsys.readouterr().out.count(f"{cells[1].record} is torn or altered") == 5
    first.trials.write_bytes(cells[1].record, whole)
    first.trials.write_bytes(cells[0].files[0], b"other weights")
    assert _to_fit(first, progress) == [cells[0]]
    fit(cells[0], 0.4)
    assert _to_fit(first, progress) == []


def recorded(*losses):
    points = [{"batch_size": 16, "learning_rate": 10.0**-place} for place in range(len(losses))]
    cells = [Cell(grid(), point) for point in points]
    return [(cell, {"mean_val_loss": loss}) for cell, loss in zip(cells, losses, strict=True)]


def test_the_cell_of_lowest_mean_loss_is_chosen_and_the_first_of_equals():
    records = recorded(0.7, 0.4, 0.5, 0.4)
    assert choose(records) == records[1]


def test_a_cell_of_which_a_seed_diverged_is_never_chosen():
    records = recorded(None, 0.9, None)
    assert choose(records) == records[1]
    with pytest.raises(
        Refusal,
        match=r"every cell of mortality medhmp both diverged; give lower rates: --tune.search med",
    ):
        choose(recorded(None, None))
