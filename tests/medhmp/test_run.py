"""medhmp.run: what check() refuses, the fields an output depends on, the digest."""

import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medhmp.legend import LEVELS
from medhmp.recipes import PLANTED, RECIPES, smoke
from medhmp.refusal import Refusal
from medhmp.run import (
    Cohort,
    Features,
    Finetune,
    Fit,
    Meds,
    Notes,
    Pretrain,
    Report,
    Run,
    Splits,
    Tables,
    Tune,
    digest,
    fields_of,
    tree_of,
    with_fields,
)

ADMISSION = Run().pretrain_admission


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_passes_its_own_check(name):
    RECIPES[name]().check()


def test_the_paper_s_recipe_trains_every_task_and_the_quick_ones_what_they_can_learn():
    trained = {name: recipe().tune.tasks for name, recipe in RECIPES.items()}
    assert trained == {
        **dict.fromkeys(("smoke", "mimic3_demo", "evidence"), PLANTED),
        **dict.fromkeys(("tiny", "physionet2012"), ("mortality",)),
        **dict.fromkeys(("tables", "paper"), tuple(LEVELS)),
    }


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        (Run(tables=Tables(sources=("/data/mimic",))), "'/data/mimic'; write it as NAME=URI"),
        (Run(tables=Tables(sources=("=/data",))), "'=/data'; write it as NAME=URI"),
        (Run(tables=Tables(sources=("mimic3=",))), "'mimic3='; write it as NAME=URI"),
        (Run(tables=Tables(sources=("a=/data", "a=/more"))), "has a name twice; give each"),
        (Run(splits=Splits(train=0.9)), "three positive shares that sum to 1"),
        (Run(splits=Splits(train=0.9, test=0.0)), "three positive shares that sum to 1"),
        (Run(splits=Splits(folds=1)), "give two folds or more, or 0"),
        (Run(splits=Splits(folds=5, fold=5)), "splits.folds is 5 and splits.fold 5; give"),
        (Run(pretrain_stay=Pretrain(batch_size=10, workers=4)), "is 10 for 4 workers"),
        (Run(pretrain_stay=Pretrain(workers=0)), "multiple of the number of workers"),
        (Run(pretrain_stay=Pretrain(epochs=0)), "pretrain_stay.epochs, pretrain_stay.keep"),
        (
            Run(pretrain_stay=Pretrain(keep=0)),
            "pretrain_stay.chunk and pretrain_stay.checkpoint_steps must be",
        ),
        (
            Run(pretrain_stay=Pretrain(chunk=0)),
            "pretrain_stay.chunk and pretrain_stay.checkpoint_steps must be",
        ),
        (Run(pretrain_admission=replace(ADMISSION, batch_size=4, workers=4)), "have a negative"),
        (Run(cohort=Cohort(hours=48), features=Features(dt=5.0)), "whole number of bins"),
        (Run(cohort=Cohort(hours=1), features=Features(dt=2.0)), "whole number of bins"),
        (Run(finetune=Finetune(epochs=0)), "finetune.epochs must be at least 1"),
        (Run(fit=Fit(batch_size=0)), "fit.batch_size must be at least 1"),
        (Run(finetune=Finetune(labels=0)), "finetune.labels must be at least 1"),
        (Run(tune=Tune(replicates=0)), "tune.replicates must be at least 1"),
        (Run(pretrain_seeds=0), "pretrain_seeds must be at least 1"),
        (Run(model=replace(smoke().model, code_prior=1.0)), "model.code_prior is a probability"),
        (
            Run(tune=Tune(models=("medhmp", "lstm"))),
            "tune.models has 'lstm'; the models are medhmp,",
        ),
        (Run(tune=Tune(search=("medhmp",))), "the entry 'medhmp'; write it as MODEL.FIELD=V,V,..."),
        (Run(fit=Fit(model="trees")), "fit.model has 'trees'; the models are medhmp, f_lstm,"),
        (
            Run(fit=Fit(task="readmission", model="f_lstm", start="none")),
            "fit.model f_lstm is no model of admissions, on which fit.task readmission is; give",
        ),
        (Run(fit=Fit(model="f_lstm")), "fit.start is both and f_lstm is not pretrained"),
        (Run(features=Features(dt=0.0)), "features.dt and model.temperature"),
        (Run(features=Features(min_filled=1.5)), "min_filled is a share of stays; give a number"),
        (Run(report=Report(draws=1)), "report.draws must be at least 2"),
        (Run(notes=Notes(max_tokens=1)), "notes.max_tokens must be at least 2"),
        (Run(notes=Notes(batch_size=0)), "notes.batch_size must be at least 1"),
        (
            Run(tables=Tables(sources=("a=/data",)), cohort=Cohort(label_sources=("b",))),
            "label_sources names b, which tables.sources does not",
        ),
        (
            Run(tables=Tables(sources=("a=/data",)), pretrain_sources=("a", "b")),
            "pretrain_sources names b, which tables.sources does not",
        ),
        (Run(variant="../elsewhere"), "variant is '../elsewhere', which names a folder; give"),
        (Run(variant=""), "variant is '', which names a folder; give letters"),
        (
            Run(model=replace(smoke().model, code_weight=0.0, contrast_weight=0.0)),
            "model.code_weight and model.contrast_weight are (0.0, 0.0); give no negative one",
        ),
        (Run(model=replace(smoke().model, code_weight=-1.0)), "are (-1.0, 0.1); give no negative"),
        (Run(tune=Tune(starts=("none", "shuffled"))), "without 'both' to compare it with"),
        (Run(cohort=Cohort(tasks=("los=/labels",))), "'los=/labels'; write it as NAME=LEVEL:URI"),
        (Run(cohort=Cohort(tasks=("a=ward:/x",))), "LEVEL one of stay, admission, patient"),
        (Run(cohort=Cohort(tasks=("../a=stay:/x",))), "NAME in small letters, digits and _"),
        (Run(cohort=Cohort(tasks=("shock=stay:/x",))), "the name shock, which is built in; give"),
        (
            Run(cohort=Cohort(tasks=("a=stay:/x", "a=patient:/y"))),
            "the name a, which is there twice; give another",
        ),
        (
            Run(cohort=Cohort(tasks=("los=stay:/x",)), tune=Tune(tasks=("mortality", "lso"))),
            "tune.tasks has the task 'lso'; the tasks are arf, shock, mortality, readmission, "
            "heart_failure, copd, amnesia, los (--cohort.tasks NAME=LEVEL:URI adds one",
        ),
        (Run(fit=Fit(task="sepsis")), "fit.task has the task 'sepsis'; the tasks are arf,"),
        (
            Run(cohort=Cohort(tasks=("a=patient:/x",)), fit=Fit(task="a", model="raim")),
            "fit.model raim is no model of patients, on which fit.task a is; give",
        ),
    ],
)
def test_check_refuses(run, sentence):
    with pytest.raises(Refusal) as refused:
        run.check()
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_sources_keep_their_order_and_everything_after_the_first_equals():
    tables = Tables(sources=("b=s3://bucket/x?y=z", "a=/data"))
    assert list(tables.named().items()) == [("b", "s3://bucket/x?y=z"), ("a", "/data")]


def test_fields_of_takes_sections_and_single_fields():
    run = Run(splits=Splits(salt="s", train=0.6, validation=0.2, test=0.2))
    assert fields_of(run, "splits", "finetune.epochs", "pretrain_on") == {
        "splits.salt": "s",
        "splits.train": 0.6,
        "splits.validation": 0.2,
        "splits.test": 0.2,
        "splits.folds": 0,
        "splits.fold": 0,
        "finetune.epochs": 30,
        "pretrain_on": "train",
    }


def test_fields_of_flattens_what_is_nested_and_makes_tuples_lists():
    fields = fields_of(Run(tables=Tables(sources=("a=b",))), "tables")
    patterns = {f"tables.meds.{name}": of for name, of in asdict(Meds()).items()}
    assert fields == {
        "tables.sources": ["a=b"],
        "tables.optional": [],
        "tables.variables": "default",
        "tables.checksums": True,
        "tables.synthetic.patients": 2000,
        "tables.synthetic.seed": 0,
        "tables.synthetic.density": 1.0,
        **patterns,
    }
    assert json.loads(json.dumps(fields)) == fields


def test_fields_of_an_unknown_field_fails():
    with pytest.raises(AttributeError):
        fields_of(Run(), "splits.pepper")


def test_to_json_is_the_whole_tree():
    tree = json.loads(Run(name="here").to_json())
    assert tree["name"] == "here"
    assert tree["model"]["width"] == 256
    assert tree["tune"]["starts"] == ["none", "stay", "admission", "both"]


def test_fields_go_back_into_their_sections():
    run = Run()
    assert tree_of(fields_of(run, "finetune", "name")) == {
        "finetune": json.loads(run.to_json())["finetune"],
        "name": "run",
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), JSON, max_size=6), st.randoms())
def test_digest_ignores_the_order_of_keys_and_survives_json(value, random):
    items = list(value.items())
    random.shuffle(items)
    assert digest(value) == digest(dict(items))
    assert digest(value) == digest(json.loads(json.dumps(value)))


@given(JSON, JSON)
def test_digest_tells_values_apart(one, other):
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (digest(one) == digest(other)) == same


def test_digest_is_the_same_on_every_machine():
    assert digest({"b": [1, 2.5, None], "a": "é"}) == (
        "84afbf1d4853005f9dd0c81cb1819b53ce86978340764c062160f6e8356665de"
    )


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_run_is_made_again_of_its_fields(name):
    run = RECIPES[name]()
    sections = ("cohort", "features", "splits", "tables", "model", "notes", "finetune", "tune")
    again = with_fields(Run(), json.loads(json.dumps(fields_of(run, *sections))))
    assert fields_of(again, *sections) == fields_of(run, *sections)
    assert again.cohort == run.cohort
    assert with_fields(run, {"no.section": 1}) == run
    with pytest.raises(KeyError, match=r"features\.later"):
        with_fields(run, {"features.later": 1})
