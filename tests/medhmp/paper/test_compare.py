"""MedHMP's place among others, and what pretraining adds, from lines that are known."""

from typing import Any

from medhmp.paper.compare import added, places
from medhmp.paper.page import headline
from medhmp.paper.plan import Part
from medhmp.paper.sections import added_section, places_section

CONTEST = Part("Table 1", ())


def line(model: str, value: float, paper: float | None = None, **more: Any) -> dict[str, Any]:
    return {
        "task": "arf",
        "metric": "auroc",
        "model": model,
        "start": "none",
        "variant": None,
        "is_floor": False,
        "value": value,
        "validation_loss": 0.5,
        "paper": paper and {"data": "MIMIC-III", "value": paper},
        "against": None,
        "difference": None,
        **more,
    }


def less(value: float, half: float = 0.05) -> dict[str, Any]:
    return {"value": value, "low": value - half, "high": value + half, "p": 0.5, "p_holm": 0.5}


LINES = [
    line("medhmp", 0.70, 0.72, start="both"),
    line("f_lstm", 0.75, 0.71),
    line("raim", 0.65, 0.60),
    line("logistic_regression", 0.80, is_floor=True, validation_loss=0.3, difference=less(-0.1)),
    line("hist_gradient_boosting", 0.60, is_floor=True, difference=less(0.1)),
]


def test_a_place_counts_who_is_higher() -> None:
    (place,) = places("table_1", CONTEST, LINES)
    assert (place["place"], place["of"]) == (3, 5)
    assert (place["place_of_networks"], place["networks"]) == (2, 3)
    assert (place["paper_place"], place["paper_of"]) == (1, 3)
    assert place["best"] == {"model": "logistic_regression", "start": "none", "value": 0.80}
    assert (place["floor"], place["over_floor"]) == ("logistic_regression", less(-0.1))


def test_each_task_and_metric_has_its_own_place() -> None:
    other = [{**of, "metric": "aupr", "value": 1 - of["value"]} for of in LINES]
    first, second = places("table_1", CONTEST, [*LINES, *other])
    assert (first["place"], second["place"]) == (3, 3)
    assert (first["place_of_networks"], second["place_of_networks"]) == (2, 2)
    assert places("table_1", CONTEST, LINES[1:]) == []  # MedHMP was not trained


def pair(model: str, none: float, both: float, theirs: tuple[float, float]) -> list[dict[str, Any]]:
    against = {"variant": None, "model": model, "start": "both"}
    return [
        line(model, none, theirs[0], against=against, difference=less(both - none)),
        line(model, both, theirs[1], start="both"),
    ]


def test_pretraining_is_counted_against_the_same_model_alone() -> None:
    floor = LINES[3] | {"against": {"variant": None, "model": "medhmp", "start": "both"}}
    lines = [
        *pair("dipole", 0.5, 0.6, (0.5, 0.6)),
        *pair("retain", 0.5, 0.52, (0.6, 0.5)),
        *pair("adacare", 0.6, 0.5, (0.5, 0.6)),
        floor,
    ]
    of = added("table_3", lines)
    assert (of["comparisons"], of["higher"], of["above"], of["below"]) == (3, 2, 1, 1)
    assert round(of["mean"], 9) == round((0.1 + 0.02 - 0.1) / 3, 9)
    assert (of["paper_higher"], of["paper_comparisons"]) == (2, 3)


def test_what_a_reader_sees_first_is_what_was_counted() -> None:
    of = added("table_3", pair("dipole", 0.5, 0.6, (0.5, 0.6)))
    results = {"places": places("table_1", CONTEST, LINES), "added": [of]}
    (contests, said), (gains, _) = headline(results)
    assert (contests, gains) == ("0 of 1", "1 of 1")
    assert "among the paper's models alone 0; in the paper 1 of 1" in said
    assert headline({"places": [], "added": []}) == []


def test_places_and_gains_in_words() -> None:
    titles = {"table_1": "Table 1", "table_3": "Table 3"}
    section = places_section(places("table_1", CONTEST, LINES), titles)
    ((cells,),) = section.groups.values()
    assert cells[:5] == [
        "Acute respiratory failure, AUROC",
        "3 of 5",
        "2 of 3",
        "1 of 3",
        "Logistic regression, 0.800",
    ]
    assert cells[6] == "\u22120.100"
    section = added_section([added("table_3", pair("dipole", 0.5, 0.6, (0.5, 0.6)))], titles)
    assert section.groups[""] == [["Table 3", "1", "1", "1", "0", "+0.100", "1 of 1"]]
