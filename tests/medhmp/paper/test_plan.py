"""Which fits each table and figure of the paper compares."""

from dataclasses import replace

import pytest

from medhmp.legend import LEVELS, PAPER_PARTS
from medhmp.model.catalog import MODELS
from medhmp.paper.plan import FLOORS, Part, metrics_of, parts_of, run_of, variant_of
from medhmp.recipes import RECIPES, physionet2012, tables
from medhmp.run import Paper, Run
from medhmp.shards.manifest import TaskCounts
from tests.manifests import manifest

ROWS = {"train": 1000, "validation": 100, "test": 100}
SHARDS = manifest(notes=9, tasks={task: TaskCounts([], ROWS, ROWS) for task in LEVELS})


def parts(run: Run, **changes: object) -> dict[str, Part]:
    return parts_of(run, replace(SHARDS, **changes))[0]


def grids(part: Part, variant: str | None = None) -> set[tuple[str, str, str]]:
    """Task, model and start of every grid of a part in a variant, but for the floors."""
    return {
        (task, model, start)
        for fits in part.fits
        for task in fits.tasks
        for model in fits.models
        for start in ("none", "stay", "admission", "both")
        if fits.variant == variant and model not in FLOORS and fits.has((task, model, start))
    }


def test_every_part_but_the_counts_has_fits_and_the_floors() -> None:
    made = parts(tables())
    assert [*made, "table_8"] == sorted(
        PAPER_PARTS, key=lambda name: (name == "table_8", PAPER_PARTS.index(name))
    )
    for part in made.values():
        assert set(FLOORS) <= {model for fits in part.fits for model in fits.models}
        assert all(
            fits.has((task, floor, "none"))
            for fits in part.fits[:1]
            for task in fits.tasks
            for floor in FLOORS
        )


def test_all_of_the_paper_s_models_are_somewhere() -> None:
    every = {
        model for part in parts(tables()).values() for fits in part.fits for model in fits.models
    }
    networks = {name for name, entry in MODELS.items() if entry.is_network}
    theirs = networks & every
    assert len(theirs) >= 21
    assert all(
        LEVELS[task] in MODELS[model].builders
        for part in parts(tables()).values()
        for task, model, _ in grids(part)
    )


def test_tables_5_and_7_have_the_paper_s_rows() -> None:
    made = parts(tables())
    own = {("readmission", "medhmp", start) for start in ("none", "stay", "admission", "both")}
    assert grids(made["table_5"]) == own
    stays = ("arf", "shock", "mortality")
    assert grids(made["table_7"]) == {(t, "medhmp", s) for t in stays for s in ("both", "stay")}
    for variant, field in (("no_contrast", "contrast_weight"), ("no_codes", "code_weight")):
        assert grids(made["table_7"], variant) == {(task, "medhmp", "both") for task in stays}
        (fits,) = [fits for fits in made["table_7"].fits if fits.variant == variant]
        run = run_of(tables(), fits)
        run.check()
        assert (getattr(run.model, field), run.variant) == (0.0, variant)
        assert replace(run.model, **{field: getattr(tables().model, field)}) == tables().model


def test_training_sizes_are_variants_of_the_labelled_rows() -> None:
    run = replace(tables(), paper=Paper(shares=(0.01, 0.5, 1.0)))
    fits = parts(run)["figure_5"].fits
    assert [(of.variant, of.labels) for of in fits] == [
        ("share-1", 2),
        ("share-50", 100),
        (None, None),
    ]
    every = replace(run, finetune=replace(run.finetune, labels=None))
    assert [of.labels for of in parts(every)["figure_5"].fits] == [10, 500, None]
    assert variant_of(replace(run, variant="mine"), fits[0]) == "mine-share-1"
    assert run_of(run, fits[0]).finetune.labels == 2


def test_a_run_without_stage_two_has_stage_one_in_its_place() -> None:
    """As the Challenge of 2012, whose one task is mortality."""
    made, left_out = parts_of(physionet2012(), replace(SHARDS, notes=0))
    mortality = ("mortality", "medhmp")
    assert ("mortality", "raim", "none") in grids(made["table_1"])
    assert {g for g in grids(made["table_1"]) if g[1] == "medhmp"} == {(*mortality, "stay")}
    assert grids(made["table_6"]) == {(*mortality, "none"), (*mortality, "stay")}
    assert all(not fits.variant for fits in made["table_7"].fits)
    assert left_out["table_10"] == "the shards have no notes"
    assert left_out["table_3"] == "none of heart_failure, copd, amnesia is among tune.tasks"


def test_parts_and_starts_are_the_run_s() -> None:
    few = replace(tables(), paper=Paper(parts=("table_2", "table_8")))
    assert list(parts(few)) == ["table_2"]
    random = replace(tables(), tune=replace(tables().tune, starts=("none",)))
    made, left_out = parts_of(random, SHARDS)
    assert ("arf", "medhmp", "none") in grids(made["table_1"])
    assert left_out["table_5"] == "tune.starts has no pretraining"


def test_metrics_are_those_of_the_level() -> None:
    made = parts(tables())
    assert metrics_of(made["table_1"], "arf") == ("auroc", "aupr")
    assert metrics_of(made["table_3"], "copd") == ("aupr", "f1", "kappa")
    assert metrics_of(made["figure_6"], "heart_failure") == ("f1", "auroc")


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_can_name_its_parts(recipe: str) -> None:
    run = RECIPES[recipe]()
    for part in parts(run).values():
        for fits in part.fits:
            run_of(run, fits).check()
