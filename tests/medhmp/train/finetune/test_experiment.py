"""What trials of a grid are given of the driver's environment."""

from ray.tune.execution.class_cache import _ActorClassCache

from medhmp.train.finetune.experiment import keep_credentials_here

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
