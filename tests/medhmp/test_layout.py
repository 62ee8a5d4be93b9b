"""The layout of outputs that several stages have to agree on."""

import pytest

from medhmp.layout import (
    SHUFFLED_STAY_PRETRAINING,
    STARTED_FROM,
    STAY_PRETRAINING,
    seeded,
    started_from,
    unseeded,
)
from medhmp.report.names import PRETRAININGS


def test_the_report_draws_every_pretraining_that_a_start_is_taken_from():
    control = {SHUFFLED_STAY_PRETRAINING}  # of which no start is taken, but stage two's control
    of_numbers = {started_from(start, numbers=True) for start in ("stay", "admission", "both")}
    drawn = {STAY_PRETRAINING, *STARTED_FROM.values()} | control | of_numbers
    assert set(PRETRAININGS) == drawn


@pytest.mark.parametrize("place", [*PRETRAININGS, "start"])
def test_the_first_pretraining_has_no_level_of_its_own(place):
    assert seeded(place, 0) == place
    assert seeded(place, 3) == f"seed-3/{place}"
    assert [unseeded(seeded(place, number)) for number in (0, 12)] == [(place, 0), (place, 12)]
