"""Lines about long work: each milestone where somebody watches, one in half a minute elsewhere."""

import pickle

import pytest

from medhmp import progress
from medhmp.progress import SILENCE, Pace, Progress


@pytest.fixture
def clock(monkeypatch):
    """``clock(seconds)`` moves the time on."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    return wait


def test_in_a_log_a_line_comes_once_the_silence_has_lasted(clock):
    pace = Pace(quiet=False, watched=False)
    said = []
    for _ in range(10):
        said.append(pace.is_due(milestone=True))
        clock(SILENCE / 2)
    assert said == [False, False, True, False, True, False, True, False, True, False]


def test_who_watches_sees_every_milestone_and_no_long_silence(clock):
    pace = Pace(quiet=False, watched=True)
    assert pace.is_due(milestone=True)
    assert not pace.is_due()
    assert pace.is_due(milestone=True)
    clock(SILENCE)
    assert pace.is_due()
    assert not pace.is_due()


def test_quiet_work_says_nothing(clock, capsys):
    pace = Progress(quiet=True).pace()
    pace.is_due()
    clock(2 * SILENCE)
    assert not pace.is_due(milestone=True)
    pace.say("line")
    assert capsys.readouterr().out == ""


def test_a_worker_keeps_the_pace_of_its_driver_on_its_own_clock(clock, capsys):
    driver = Pace(quiet=False, watched=False)
    driver.is_due()
    worker = pickle.loads(pickle.dumps(Pace(quiet=False, watched=False)))
    clock(-500)  # of another machine
    assert not worker.is_due()
    clock(SILENCE)
    assert worker.is_due()
    worker.say("line")
    assert capsys.readouterr().out == "line\n"


def test_neither_a_log_nor_a_quiet_terminal_is_watched(monkeypatch):
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    assert not Progress().is_watched
    monkeypatch.setattr(progress.sys.stdout, "isatty", lambda: True)
    assert Progress().is_watched
    assert not Progress(quiet=True).is_watched


def test_brackets_and_colons_of_a_path_are_said_as_they_are(capsys):
    said = "report: runs/a[/b]/[bold]c[/bold]:smile:/index.html"
    Progress().say(said)
    assert capsys.readouterr().out == said + "\n"
    Progress().say(said, style="dim")
    assert capsys.readouterr().out == said + "\n"
