"""Every task, start and model has a name, and a color of its own."""

from typing import get_args

from medhmp.legend import LEVELS, Start
from medhmp.model.catalog import MODELS
from medhmp.report.names import START_COLORS, TASK_NAMES, color_of, title_of


def test_every_task_and_start_has_an_entry() -> None:
    assert list(TASK_NAMES) == list(LEVELS)
    assert list(START_COLORS) == list(get_args(Start))


def test_only_a_model_that_takes_starts_shows_one() -> None:
    assert (title_of("medhmp", "both"), title_of("f_lstm", "none")) == ("MedHMP, both", "F-LSTM")
    assert color_of("medhmp", "none") == START_COLORS["none"]
    assert color_of("f_lstm", "none") == MODELS["f_lstm"].color


def test_no_two_lines_of_a_figure_have_one_color() -> None:
    lines = [
        (model, start)
        for model, entry in MODELS.items()
        for start in get_args(Start)
        if entry.takes_starts or start == "none"
    ]
    assert len({color_of(*line) for line in lines}) == len(lines)
