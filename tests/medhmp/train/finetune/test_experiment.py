"""The order of the trials, whom ASHA compares, what trials get of the driver's environment."""

from dataclasses import dataclass, field

from ray.tune.execution.class_cache import _ActorClassCache
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from medhmp.refusal import Refusal
from medhmp.run import Finetune
from medhmp.storage import Folder, Stamp
from medhmp.train.finetune.experiment import InTurn, WithinReplicate, keep_credentials_here
from medhmp.train.finetune.search import Grid
from medhmp.train.finetune.trials import rungs

CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
)


class Trial:
    """Stands for a trainable, of which Tune makes an actor."""


def test_no_credential_of_the_driver_reaches_the_runtime_environment_of_a_trial(monkeypatch):
    for name in CREDENTIALS:
        monkeypatch.setenv(name, "canary")
    monkeypatch.setenv("RAY_CHDIR_TO_TRIAL_DIR", "0")
    keep_credentials_here()
    actor = _ActorClassCache().get(Trial)
    given = actor._default_options["runtime_env"]["env_vars"]
    assert given["RAY_CHDIR_TO_TRIAL_DIR"] == "0"  # the others are copied as before
    assert "canary" not in given.values()


def grid(start):
    search = {"batch_size": (16,), "learning_rate": (1e-3, 1e-2)}
    return Grid(
        "arf", "medhmp", start, "stay", Folder("/nowhere"), Stamp({}, {}), search, replicates=2
    )


def fits_of(of):
    return [fit for cell in of.cells for fit in cell.fits]


def test_a_grid_is_asked_what_else_it_needs_once_its_fits_are_done():
    none, both = grid("none"), grid("both")
    wider = none.wider(1e-4)
    asked = []

    def go_on(of):
        asked.append(of.key)
        new = [fit for fit in fits_of(wider) if fit.cell.point["learning_rate"] == 1e-4]
        return new if asked == [none.key] else []

    search = InTurn([*fits_of(none), *fits_of(both)], go_on)
    assert search.total == 8
    given = [search.suggest(f"trial-{n}") for n in range(8)]
    assert [of["replicate"] for of in given] == [0] * 4 + [1] * 4
    assert [of["start"] for of in given] == ["none", "both"] * 4
    assert given[0] == {
        "task": "arf",
        "model": "medhmp",
        "start": "none",
        "batch_size": 16,
        "learning_rate": 1e-3,
        "replicate": 0,
    }
    assert search.suggest("too early") is None
    for n in (0, 2, 4, 6):  # those of none
        search.on_trial_complete(f"trial-{n}", {"val_loss": 0.5})
    assert asked == [none.key]
    assert search.total == 10
    more = [search.suggest(f"more-{n}") for n in range(2)]
    assert [(of["learning_rate"], of["replicate"]) for of in more] == [(1e-4, 0), (1e-4, 1)]
    for n in (1, 3, 5):
        search.on_trial_complete(f"trial-{n}", {"val_loss": 0.5})
    search.on_trial_complete("trial-7", error=True)  # of a grid that failed nothing is asked
    for n in range(2):
        search.on_trial_complete(f"more-{n}", {"val_loss": 0.5})
    assert asked == [none.key, none.key]
    assert search.suggest("none left") == Searcher.FINISHED


def test_a_grid_that_cannot_go_on_ends_no_other():
    def go_on(of):
        if of.start == "none":
            raise Refusal("every cell diverged")
        return []

    search = InTurn([*fits_of(grid("none")), *fits_of(grid("both"))], go_on)
    for n in range(8):
        search.suggest(f"trial-{n}")
    for n in range(8):
        search.on_trial_complete(f"trial-{n}", {"val_loss": None})
    assert str(search.refused) == "every cell diverged"
    assert search.suggest("none left") == Searcher.FINISHED


@dataclass
class Named:
    """Stands for a trial, of which a scheduler reads these."""

    trial_id: str
    config: dict = field(default_factory=dict)

    def __str__(self):
        return self.trial_id


def test_asha_compares_within_a_replicate_and_stops_no_fit_twice():
    asha = WithinReplicate(Finetune(epochs=9, patience=3))

    def reported(name, epoch, loss, replicate=0):
        config = {"task": "arf", "model": "medhmp", "start": "none", "replicate": replicate}
        trial = Named(name, config)
        asha.on_trial_add(None, trial)
        told = {"epoch": epoch, "best_val_loss": loss}
        return asha.on_trial_result(None, trial, told)

    good, bad = FIFOScheduler.CONTINUE, FIFOScheduler.STOP
    assert reported("first", 3, 0.5) == good
    assert reported("worse", 2, 0.6) == good  # before the rung
    assert reported("worse", 3, 0.6) == bad
    assert reported("of another replicate", 3, 0.9, replicate=1) == good
    assert reported("better", 3, 0.4) == good
    assert reported("worse", 3, 0.6) == good  # chosen, and fitted once more to its end


def test_a_fit_leaves_a_record_where_asha_may_stop_it():
    assert rungs(Finetune(epochs=30, patience=5)) == [5, 15]
    assert rungs(Finetune(epochs=2, patience=5)) == [2]
    assert rungs(Finetune(epochs=45, patience=5)) == [5, 15, 45]
