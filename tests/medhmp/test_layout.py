"""The layout of outputs that several stages have to agree on."""

from medhmp.layout import SHUFFLED_STAY_PRETRAINING, STARTED_FROM, STAY_PRETRAINING
from medhmp.report.names import PRETRAININGS


def test_the_report_draws_every_pretraining_that_a_start_is_taken_from():
    control = {SHUFFLED_STAY_PRETRAINING}  # of which no start is taken, but stage two's control
    assert set(PRETRAININGS) == {STAY_PRETRAINING, *STARTED_FROM.values()} | control
