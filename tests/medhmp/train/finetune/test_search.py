"""Cells of a grid, what they depend on, and which of them is chosen."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from medhmp.train.finetune.grid import choose, pending, to_fit
from medhmp.train.finetune.inputs import FitInputs
from medhmp.train.finetune.search import Cell, Grid, grids_of, in_order, spread
from tests.manifests import manifest

MODELS = ("medhmp", "f_lstm", "hist_gradient_boosting")
ALL_STARTS = ("none", "stay", "admission", "both", "shuffled")
SEARCH = ("medhmp.batch_size=16,32", "medhmp.learning_rate=1e-3,5e-3")
MORE = "medhmp/none.learning_rate=1e-3,5e-3,5e-2"
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
        publish(root / place, Stamp({"pretrain_on": "train"}, shards), [weights])
    return replace(smoke(), out=str(tmp_path), tune=TUNE)


def grids(run, task):
    shards = OpenShards(opened(Folder(run.out) / "shards", "featurize"), manifest())
    return grids_of(run, task, FitInputs(Folder(run.out), shards, run.pretrain_on))


def grid(model="medhmp", start="both", task="mortality", tune=TUNE):
    search = tune.searched(model, start)
    return Grid(
        task, model, start, LEVELS[task], Folder("/nowhere"), Stamp({}, {}), search, replicates=2
    )


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
    assert [fit.model for fit in cell.fits] == ["default-seed-0.skops", "default-seed-1.skops"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_no_baseline_network_has_fewer_cells_than_medhmp(recipe):
    """For any start of MedHMP, and boosting about a dozen."""
    tune, level = RECIPES[recipe]().tune, "stay"

    def cells(model, start="none"):
        return len(grid(model, start, tune=tune).cells)

    most = max(cells("medhmp", start) for start in ALL_STARTS)
    networks = [
        name
        for name, entry in CATALOG.items()
        if entry.is_network and level in entry.builders and not entry.reads_numbers  # MedHMP-S
    ]
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
    assert [fit.model for fit in grid().cells[0].fits] == files


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
        publish(place, Stamp({"pretrain_on": "train"}, shards), [weights])
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
def test_a_fit_depends_on_its_own_point_and_not_on_the_others(run, start):
    few, many, longer = (
        next(g for g in grids(of, "arf") if g.start == start)
        for of in (
            with_rates(run, 1e-3),
            with_rates(run, 1e-3, 1e-2),
            replace(with_rates(run, 1e-3), finetune=replace(run.finetune, epochs=99)),
        )
    )
    assert len({grid.stamp.hash for grid in (few, many, longer)}) == 3
    before, after, other = (
        {fit.name: fit.stamp.hash for cell in of.cells for fit in cell.fits}
        for of in (few, many, longer)
    )
    assert before.items() < after.items()
    assert len(set(after.values())) == len(after)
    assert before.keys() == other.keys()
    assert not set(before.values()) & set(other.values())


def test_rates_of_medhmp_make_no_baseline_anew(run):
    pairs = zip(grids(run, "arf"), grids(with_rates(run, 0.5), "arf"), strict=True)
    same = {before.model for before, after in pairs if before.stamp.hash == after.stamp.hash}
    assert same == {"f_lstm", "hist_gradient_boosting"}


def test_a_grid_of_another_search_is_made_beside_the_old_one_and_takes_over_its_cells(run):
    first, *_ = grids(run, "arf")
    kept = first.cells[0].fits[1]
    model = first.trials.write_bytes(kept.model, b"weights")
    record = first.trials.write_record(
        kept.record, {"hash": kept.stamp.hash, "row": {"status": "finished"}}
    )
    lost = first.trials.write_record("batch-1-lr-1-seed-0.json", {"hash": "of another fit"})
    entries = [replace(entry, name=f"trials/{entry.name}") for entry in (model, record, lost)]
    publish(first.folder, first.stamp, entries)
    assert pending(first, False, Progress()) is pending(first, True, Progress()) is None
    other, *_ = grids(with_rates(run, *first.search["learning_rate"], 0.25), "arf")
    with pytest.raises(Refusal, match=r"tune\.search\.learning_rate was .* pass --overwrite"):
        pending(other, False, Progress())
    before = first.folder.names()
    made = pending(other, True, Progress())
    assert made.folder == Folder(f"{other.folder}.new")
    assert made.trials.names() == sorted([kept.model, kept.record])
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


def finish(fit, loss, status="finished"):
    """Leaves the record and the model of a fit."""
    trials = fit.cell.grid.trials
    files = {}
    if status == "finished":
        files[fit.model] = trials.write_bytes(fit.model, fit.name.encode()).sha256
    row = {"status": status, "val_loss": loss, "base_loss": 0.7}
    trials.write_record(fit.record, {"hash": fit.stamp.hash, "row": row, "files": files})


def finish_all(grid, *losses):
    """Each cell with the loss of its place."""
    for cell, loss in zip(grid.cells, losses, strict=True):
        for fit in cell.fits:
            finish(fit, loss)


def names(fits):
    return [fit.name for fit in fits]


def test_fits_whose_record_or_model_has_changed_are_made_again(run, capsys):
    first, *_ = grids(with_rates(run, 1e-3, 1e-2), "arf")
    progress = Progress()
    every = [fit for cell in first.cells for fit in cell.fits]
    assert to_fit(first, progress) == (first, every)
    finish_all(first, 0.4, 0.5, 0.6, 0.7)
    assert to_fit(first, progress) == (first, [])
    torn = every[3]
    whole = first.trials.read_bytes(torn.record)
    for bad in (b"", whole[:-9], b"\0" * 9, b"[" * 10**5, whole.replace(b"0.5", b"0.1")):
        first.trials.write_bytes(torn.record, bad)
        assert names(to_fit(first, progress)[1]) == [torn.name]
    assert capsys.readouterr().out.count(f"{torn.record} is torn or altered") == 5
    first.trials.write_bytes(torn.record, whole)
    first.trials.write_bytes(every[0].model, b"other weights")
    assert names(to_fit(first, progress)[1]) == [every[0].name]
    finish(every[0], 0.4)
    assert to_fit(first, progress) == (first, [])


def test_more_replicates_keep_those_that_there_are(run):
    few, *_ = grids(run, "arf")
    finish_all(few, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    more, *_ = grids(replace(run, tune=replace(run.tune, replicates=3)), "arf")
    assert {fit.number for fit in to_fit(more, Progress())[1]} == {2}


def test_where_an_end_of_the_rates_is_best_a_grid_goes_on_beyond_it(run, capsys):
    asked = with_rates(run, 2e-3, 5e-3, 1e-2)
    first, *_ = grids(replace(asked, tune=replace(asked.tune, extend=2)), "arf")
    assert first.start == "none"
    lowest_best = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # 2e-3 at batch size 16
    finish_all(first, *lowest_best)
    assert to_fit(replace(first, extend=0), Progress()) == (replace(first, extend=0), [])
    once, fits = to_fit(first, Progress())
    assert names(fits) == [f"batch-{b}-lr-0.0008-seed-{n}" for b in (16, 32) for n in (0, 1)]
    assert once.stamp.hash == first.stamp.hash  # so that a grid begun again is the same
    for fit in fits:
        finish(fit, 0.3)
    twice, fits = to_fit(once, Progress())
    assert twice.added == (0.0008, 0.00032)
    for fit in fits:
        finish(fit, 0.35)
    assert to_fit(twice, Progress()) == (twice, [])
    assert to_fit(first, Progress()) == (twice, [])  # begun again
    assert capsys.readouterr().out.count("the lowest rate searched") == 4
    up = replace(first, search={**first.search, "learning_rate": (1e-3, 1e-2)})
    assert up.beyond("highest") == 0.1


def test_no_end_is_told_of_one_rate_nor_of_what_is_no_network():
    one = replace(grid(), search={"batch_size": (16, 32), "learning_rate": (1e-3,)})
    boosting = grid("hist_gradient_boosting", "none")
    for of in (one, boosting):
        assert [of.edge(cell) for cell in of.cells] == [None] * len(of.cells)
    assert [grid().edge(cell) for cell in grid().cells] == ["lowest", "highest"] * 2


def test_of_a_chosen_cell_that_asha_stopped_the_fits_are_made_to_their_end(run):
    first, *_ = grids(with_rates(run, 1e-3, 1e-2), "arf")
    asha = replace(first, asha=True)
    finish_all(asha, 0.4, 0.5, 0.6, 0.7)
    for fit in (asha.cells[0].fits[1], asha.cells[2].fits[0]):
        finish(fit, 0.41, "stopped")
    assert names(to_fit(asha, Progress())[1]) == ["batch-16-lr-0.001-seed-1"]
    # A grid that stops nothing takes over what was made to its end alone.
    stopped = ["batch-16-lr-0.001-seed-1", "batch-32-lr-0.001-seed-0"]
    assert names(to_fit(first, Progress())[1]) == stopped
    finish(asha.cells[0].fits[1], 0.39)
    assert to_fit(asha, Progress()) == (asha, [])


def test_a_search_that_is_cut_off_has_seen_all_tasks_and_cells_from_all_over():
    search = {"batch_size": (16, 32, 64), "learning_rate": (1e-5, 1e-4, 1e-3, 1e-2)}
    pairs = [(task, start) for task in ("arf", "mortality") for start in ("none", "both")]
    every = [replace(grid(task=task, start=start), search=search) for task, start in pairs]
    ordered = in_order([fit for of in every for cell in of.cells for fit in cell.fits])
    assert len({(fit.cell.grid.key, fit.name) for fit in ordered}) == len(ordered) == 4 * 12 * 2
    assert [fit.number for fit in ordered] == [0] * 48 + [1] * 48
    for at in range(0, 96, 4):  # each in turn
        assert [fit.cell.grid for fit in ordered[at : at + 4]] == every
    first = [tuple(fit.cell.point.values()) for fit in ordered[:16:4]]
    assert {batch for batch, _ in first} == {16, 32, 64}


@given(st.integers(1, 200))
def test_places_are_taken_far_apart(n):
    """Of the first 2^k places taken none are nearer than a quarter of what is even."""
    ranks = spread(n)
    assert sorted(ranks) == list(range(n))
    for k in range(1, n.bit_length()):
        first = sorted(place for place, rank in enumerate(ranks) if rank < 2**k)
        assert min(b - a for a, b in itertools.pairwise(first)) >= n / 2**k / 4


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
