"""Entries of tune.search: which values each model and start gets, and what is refused."""

from dataclasses import replace

import pytest

from medhmp.model.catalog import MODELS, USUAL
from medhmp.recipes import ON_NUMBERS, RECIPES
from medhmp.refusal import Refusal
from medhmp.run import Cohort, Tune

RATES = (2e-5, 5e-5, 1e-4, 5e-4, 1e-3, 5e-3)
OF_F_LSTM = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
TEN = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 2e-3, 3e-3, 1e-2, 3e-2, 1e-1)


def test_what_is_not_named_is_the_catalog_s():
    for name, entry in MODELS.items():
        assert Tune().searched(name, "none") == dict(entry.search)


def test_an_entry_for_a_start_goes_before_one_for_its_model():
    tune = Tune(search=("medhmp/none.learning_rate=1,2e-1", "medhmp.learning_rate=5e-3"))
    assert tune.searched("medhmp", "none")["learning_rate"] == (1.0, 0.2)
    assert tune.searched("medhmp", "both")["learning_rate"] == (5e-3,)
    assert tune.searched("medhmp", "both")["batch_size"] == (16, 32, 64)
    assert tune.searched("f_lstm", "none")["learning_rate"] == OF_F_LSTM


def test_values_are_of_the_catalog_s_kind_in_their_order_and_once():
    tune = Tune(search=("f_lstm.batch_size=32,8,32", "f_lstm.learning_rate=1"))
    searched = tune.searched("f_lstm", "none")
    assert list(searched) == ["batch_size", "learning_rate"]
    assert searched["batch_size"] == (32, 8)
    assert all(isinstance(size, int) for size in searched["batch_size"])
    assert isinstance(searched["learning_rate"][0], float)


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ("", "write it as MODEL.FIELD=V,V,..."),
        ("medhmp=1", "write it as MODEL.FIELD=V,V,..."),
        ("medhmp.batch_size", "write it as MODEL.FIELD=V,V,..."),
        ("lstm.batch_size=16", "the models are medhmp, f_lstm"),
        ("medhmp/late.batch_size=16", "the starts are none, stay, admission, both, shuffled"),
        ("medhmp/.batch_size=16", "the starts are none"),
        ("f_lstm/both.batch_size=16", "f_lstm is not pretrained; write f_lstm alone"),
        ("medhmp.rate=1e-3", "medhmp has batch_size, learning_rate to search"),
        ("logistic_regression.batch_size=16", "logistic_regression has nothing to search"),
        ("hist_gradient_boosting.components=-1", "give whole numbers from 0 on"),
        ("medhmp.learning_rate=", "give numbers with commas between them"),
        ("medhmp.learning_rate=1e-3,", "give numbers with commas"),
        ("medhmp.learning_rate=low", "give numbers with commas"),
        ("medhmp.learning_rate=nan", "give numbers with commas"),
        ("medhmp.batch_size=0", "give whole numbers from 1 on"),
        ("medhmp.batch_size=1.5", "give whole numbers from 1 on"),
    ],
)
def test_a_wrong_entry_is_refused_in_one_sentence(entry, sentence):
    with pytest.raises(Refusal) as refused:
        Tune(search=(entry,)).check(Cohort())
    assert f"tune.search has the entry '{entry}'; {sentence}" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_two_entries_of_one_name_are_refused():
    with pytest.raises(Refusal, match="another of the same name"):
        Tune(search=("medhmp.batch_size=16", "medhmp.batch_size=32")).check(Cohort())


@pytest.mark.parametrize(
    ("recipe", "model", "start", "sizes", "rates"),
    [
        ("smoke", "medhmp", "both", (16,), (5e-3, 1e-2)),
        ("smoke", "f_lstm", "none", (16,), (1e-3, 1e-2)),
        ("mimic3_demo", "medhmp", "none", (16,), (5e-3, 1e-2)),
        ("physionet2012", "medhmp", "stay", (32,), (5e-4, 1e-3, 2e-3)),
        ("physionet2012", "f_lstm", "none", (32,), (1e-4, 1e-3, 1e-2)),
        ("evidence", "medhmp", "shuffled", (16,), RATES),
        ("evidence", "medhmp", "none", (16,), (*RATES, 1e-2, 5e-2, 2e-1, 1.0)),
        ("evidence", "f_lstm", "none", (16,), TEN),
        ("paper", "medhmp", "none", (16, 32, 64), RATES),
        ("paper", "f_lstm", "none", (16, 32, 64), OF_F_LSTM),
    ],
)
def test_recipes_search_what_is_published_of_them(recipe, model, start, sizes, rates):
    searched = RECIPES[recipe]().tune.searched(model, start)
    assert searched == {"batch_size": sizes, "learning_rate": rates}


def test_every_recipe_runs_the_usual_models_and_any_that_is_named():
    others = {"tiny": ("medhmp",), "paper": USUAL, "physionet2012": (*USUAL, *ON_NUMBERS)}
    for name, recipe in RECIPES.items():
        assert recipe().tune.models == others.get(name, (*USUAL, "frozen"))
        replace(recipe().tune, models=tuple(MODELS)).check(Cohort())
        replace(recipe().tune, models=()).check(Cohort())
