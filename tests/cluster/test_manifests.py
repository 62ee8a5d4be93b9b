"""The files of cluster/ against the schemas of their readers; each check is seen to fail too."""

import copy
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from medhmp.command import parse
from medhmp.refusal import Refusal

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "cluster"
RAYJOB = yaml.safe_load((CLUSTER / "kuberay" / "rayjob.yaml").read_text())
AWS = yaml.safe_load((CLUSTER / "aws.yaml").read_text())


# --- KubeRay ---------------------------------------------------------------------


def strict(schema: Any) -> Any:
    """A Kubernetes structural schema as JSON Schema in which an unknown key is an error."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    known = {k: v for k, v in schema.items() if not k.startswith("x-kubernetes-")}
    properties = {name: strict(value) for name, value in known.pop("properties", {}).items()}
    result = {key: strict(value) for key, value in known.items()}
    if properties:
        result["properties"] = properties
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            result["additionalProperties"] = False
    return result


@pytest.fixture(scope="module")
def validator(shared) -> jsonschema.Draft202012Validator:
    path = shared / "data" / "kuberay-crds" / "rayjobs_crd.yaml"
    versions = yaml.load(path.read_text(), yaml.CSafeLoader)["spec"]["versions"]
    (v1,) = (v["schema"]["openAPIV3Schema"] for v in versions if v["name"] == "v1")
    schema = strict(v1)
    schema["properties"]["metadata"] = {"type": "object"}  # Kubernetes' own, not the operator's
    return jsonschema.Draft202012Validator(schema)


def test_the_rayjob_is_one_that_the_operator_takes(validator):
    assert [error.message for error in validator.iter_errors(RAYJOB)] == []


def edited(path: str, value: Any) -> dict[str, Any]:
    """The RayJob with one value set, or with None removed, at a dotted path of its spec."""
    manifest = copy.deepcopy(RAYJOB)
    at: Any = manifest["spec"]
    *parents, last = [int(p) if p.isdigit() else p for p in path.split(".")]
    for part in parents:
        at = at[part]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return manifest


WORKERS = "rayClusterSpec.workerGroupSpecs.0"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("backofLimit", 2, "'backofLimit' was unexpected"),
        ("backoffLimit", "two", "is not of type 'integer'"),
        ("rayClusterSpec.headGroupSpec.rayStartParam", {}, "'rayStartParam' was unexpected"),
        (f"{WORKERS}.groupName", None, "'groupName' is a required property"),
        (f"{WORKERS}.rayStartParams", {"num-cpus": 4}, "is not of type 'string'"),
        (f"{WORKERS}.template.spec.nodeSelectors", {}, "'nodeSelectors' was unexpected"),
        (f"{WORKERS}.template.spec.containers.0.image", 7, "is not of type 'string'"),
        ("rayClusterSpec.authOptions.mode", "none", "is not one of"),
    ],
)
def test_a_mistake_in_the_rayjob_is_caught(validator, path, value, said):
    messages = [error.message for error in validator.iter_errors(edited(path, value))]
    assert any(said in message for message in messages), messages


def groups() -> dict[str, dict[str, Any]]:
    return {g["groupName"]: g for g in RAYJOB["spec"]["rayClusterSpec"]["workerGroupSpecs"]}


def pod(group: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = group["template"]["spec"]
    return result


def test_no_work_lands_on_the_head_and_every_pod_has_its_identity_and_its_time_to_drain():
    head = RAYJOB["spec"]["rayClusterSpec"]["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    for group in (head, *groups().values()):
        assert pod(group)["serviceAccountName"] == "medhmp"
        assert pod(group)["terminationGracePeriodSeconds"] >= 120
    account = yaml.safe_load((CLUSTER / "kuberay" / "service-account.yaml").read_text())
    assert (account["kind"], account["metadata"]["name"]) == ("ServiceAccount", "medhmp")


@pytest.mark.parametrize("name", ["a100", "data"])
def test_shared_memory_holds_the_object_store(name):
    spec = pod(groups()[name])
    (volume,) = spec["volumes"]
    (container,) = spec["containers"]
    assert container["volumeMounts"] == [{"name": volume["name"], "mountPath": "/dev/shm"}]
    assert volume["emptyDir"]["medium"] == "Memory"
    share = gibibytes(volume["emptyDir"]["sizeLimit"]) / gibibytes(
        container["resources"]["limits"]["memory"]
    )
    assert 0.3 <= share <= 0.5


def gibibytes(quantity: str) -> float:
    assert quantity.endswith("Gi")
    return float(quantity.removesuffix("Gi"))


def test_the_gpus_that_a_run_waits_for_are_enough_for_its_workers():
    a100 = groups()["a100"]
    gpus = int(pod(a100)["containers"][0]["resources"]["limits"]["nvidia.com/gpu"])
    program, job, *arguments = shlex.split(RAYJOB["spec"]["entrypoint"])
    assert (program, job) == ("medhmp", "all")
    run = parse(arguments)
    workers = max(run.pretrain_stay.workers, run.pretrain_admission.workers)
    assert workers <= gpus * a100["minReplicas"]


def test_every_ray_is_the_pinned_one():
    locked = (ROOT / "requirements/run.txt").read_text()
    (pinned,) = re.findall(r"^ray==(\S+)", locked, re.MULTILINE)
    assert RAYJOB["spec"]["rayClusterSpec"]["rayVersion"] == pinned


# --- ray up ----------------------------------------------------------------------


def launch(config: dict[str, Any]) -> dict[str, Any]:
    """Fills in defaults and checks the schema, as `ray up` does before it asks the cloud."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared: dict[str, Any] = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return prepared


def test_the_launcher_takes_aws_yaml():
    types = launch(AWS)["available_node_types"]
    assert types["head"]["resources"]["CPU"] == 0
    for name in ("a100", "data"):
        node = types[name]["node_config"]
        assert node["InstanceMarketOptions"] == {"MarketType": "spot"}
        assert node["IamInstanceProfile"]


@pytest.mark.parametrize(
    "mistake",
    [
        {"max_worker": 3},
        {"max_workers": "three"},
        {"docker": {**AWS["docker"], "run_option": []}},
        {"available_node_types": {**AWS["available_node_types"], "data": {"node_confg": {}}}},
        {"head_node_type": "haed"},
    ],
)
def test_a_mistake_in_aws_yaml_is_caught(mistake):
    with pytest.raises((ValueError, jsonschema.ValidationError)):
        launch({**AWS, **mistake})


def exposed(config: dict[str, Any]) -> list[str]:
    """What of a cluster of the launcher strangers could reach or read, in words."""
    found = []
    home = f"/home/{IMAGE_USER}/.ray/auth_token"
    if config.get("file_mounts", {}).get(home) != "~/.ray/auth_token":
        found.append("no token on the nodes")
    if "chmod 600 ~/.ray/auth_token" not in config["setup_commands"]:
        found.append("a token that others may read")
    starts = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    for start in (command for command in starts if "ray start" in command):
        if "RAY_AUTH_MODE=token ray start" not in start:
            found.append("a node without authentication")
        if "umask 077;" not in start:
            found.append("logs that others may read")
        if "--head" in start and "--dashboard-host=127.0.0.1" not in start:
            found.append("a dashboard on the network")
    exports = [c for c in config["head_setup_commands"] if "export RAY_ADDRESS=" in c]
    if not exports or ">> ~/.bashrc" not in exports[0]:
        found.append("jobs that are told of no cluster")
    for name, node in config["available_node_types"].items():
        if not node["node_config"].get("SecurityGroupIds"):
            found.append(f"port 22 of {name} open to the internet")
    return found


(IMAGE_USER,) = re.findall(r"^USER (\S+)$", (CLUSTER / "Dockerfile").read_text(), re.MULTILINE)


def test_strangers_reach_nothing_of_a_launched_cluster():
    assert exposed(launch(AWS)) == []


def without(*path: str | int) -> dict[str, Any]:
    config = copy.deepcopy(AWS)
    at: Any = config
    for part in path[:-1]:
        at = at[part]
    del at[path[-1]]
    return config


def reworded(old: str, new: str) -> dict[str, Any]:
    text = yaml.safe_dump(AWS, width=10_000)
    assert old in text
    changed: dict[str, Any] = yaml.safe_load(text.replace(old, new))
    return changed


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (without("file_mounts"), ["no token on the nodes"]),
        (without("setup_commands"), ["a token that others may read"]),
        (
            reworded("RAY_AUTH_MODE=token ray start --address", "ray start --address"),
            ["a node without authentication"],
        ),
        (reworded("umask 077; ulimit -n 65536; RAY_AUTH_MODE=token ray start --head",
                  "RAY_AUTH_MODE=token ray start --head"), ["logs that others may read"]),
        (reworded("--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0"),
         ["a dashboard on the network"]),
        (without("head_setup_commands"), ["jobs that are told of no cluster"]),
        (
            without("available_node_types", "data", "node_config", "SecurityGroupIds"),
            ["port 22 of data open to the internet"],
        ),
    ],
)  # fmt: skip
def test_a_cluster_left_open_is_caught(config, said):
    assert exposed(launch(config)) == said


def test_the_launcher_makes_no_security_group_of_its_own():
    """Its own opens port 22 to everybody. Asked for one it would call AWS, which is not here."""
    from ray.autoscaler._private.aws.config import _configure_security_group

    config = launch(AWS)
    assert _configure_security_group(copy.deepcopy(config)) == config


# --- Slurm -----------------------------------------------------------------------


def shell_accepts(script: str) -> bool:
    return subprocess.run(["bash", "-n"], input=script.encode(), check=False).returncode == 0


def test_the_slurm_script_is_bash():
    script = (CLUSTER / "slurm.sh").read_text()
    assert shell_accepts(script)
    assert not shell_accepts(script.replace("}", "", 1))


def test_the_slurm_script_keeps_ray_private_and_the_job_its_own_umask(tmp_path):
    """Run with stand-ins for the programs of a Slurm node, which tell what they were given."""
    programs = {
        "scontrol": "echo head",
        "getent": "echo 192.0.2.1 STREAM head",
        "ray": ":",
        "srun": 'echo ray umask $(umask), RAY_ADDRESS "${RAY_ADDRESS-}"; '
        'while [ "$1" != -- ]; do shift; done; shift; "$@"',
        "medhmp": 'echo job umask $(umask), RAY_ADDRESS "$RAY_ADDRESS", "$@"',
    }
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name, body in programs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / ".venv" / "bin" / "activate").write_text(f"PATH={tmp_path}:$PATH\n")
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("token")
    slurm = {"SLURM_JOB_NODELIST": "n", "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_PER_TASK": "4"}
    done = subprocess.run(
        ["bash", CLUSTER / "slurm.sh", "all", "paper", "--name", "two words"],
        env={**os.environ, **slurm, "HOME": str(tmp_path)}, cwd=tmp_path, umask=0o027,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "ray umask 0077, RAY_ADDRESS ",
        "job umask 0027, RAY_ADDRESS 192.0.2.1:6379, all paper --name two words",
    ]
    assert (tmp_path / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600


def test_the_slurm_script_wants_a_job_and_a_recipe():
    done = subprocess.run(["bash", CLUSTER / "slurm.sh"], capture_output=True, check=False)
    assert done.returncode == 2
    assert b"usage: sbatch cluster/slurm.sh JOB RECIPE" in done.stderr


# --- Commands --------------------------------------------------------------------

COMMAND = re.compile(r"(?:(?<![\w/])medhmp |sbatch cluster/slurm\.sh )(\w+) (.+)")


def commands() -> list[tuple[str, str]]:
    """(job, arguments) of every command that cluster/ tells to run."""
    texts = [path.read_text() for path in sorted(CLUSTER.rglob("*")) if path.is_file()]
    found = [match for text in texts for match in COMMAND.findall(text)]
    found = [(job, rest) for job, rest in found if job != "JOB"]  # the usage line
    entrypoint = RAYJOB["spec"]["entrypoint"]
    rayjob = COMMAND.search(entrypoint)
    assert rayjob is not None
    return [*found, (rayjob[1], rayjob[2])]


def check_command(job: str, arguments: str) -> None:
    assert (ROOT / "jobs" / f"{job}.py").is_file(), f"no job is called {job}"
    parse(shlex.split(arguments)).check()


def test_there_are_commands_to_check():
    assert {job for job, _ in commands()} >= {"all", "featurize", "pretrain_stay", "tune"}
    assert sum("mimic3=s3://" in arguments for _, arguments in commands()) >= 4


@pytest.mark.parametrize(("job", "arguments"), sorted(set(commands())))
def test_every_command_names_a_job_and_parses(job, arguments):
    check_command(job, arguments)


@pytest.mark.parametrize(
    ("job", "arguments", "error"),
    [
        ("al", "paper", AssertionError),
        ("all", "papper", Refusal),
        ("all", "paper --pretrain-stay.wokers 8", Refusal),
        ("all", "paper --pretrain-stay.workers eight", Refusal),
        ("all", "paper --pretrain-stay.workers 7", Refusal),
    ],
)
def test_a_mistake_in_a_command_is_caught(job, arguments, error):
    with pytest.raises(error):
        check_command(job, arguments)


def test_the_image_holds_what_its_dockerfile_copies():
    copied = re.findall(r"^COPY (.+) \S+$", (CLUSTER / "Dockerfile").read_text(), re.MULTILINE)
    sources = [source for line in copied for source in line.split()]
    sent = (CLUSTER / "Dockerfile.dockerignore").read_text().split()
    assert {"pyproject.toml", "requirements", "medhmp", "jobs"} <= set(sources)
    assert all((ROOT / source).exists() and f"!{source}" in sent for source in sources)
