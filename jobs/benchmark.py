"""Measure speed and memory. The last line of each is one JSON object.

    python -m jobs.benchmark synthesize --patients 500 10000
    python -m jobs.benchmark featurize --fiddle 1000 10000 --stays 1000
    python -m jobs.benchmark soak
    python -m jobs.benchmark soak-featurize --kills 20
    python -m jobs.benchmark soak-train --kills 30
    python -m jobs.benchmark soak-nodes
    python -m jobs.benchmark train
    python -m jobs.benchmark train --device cuda --epochs --paper-batch

``synthesize``: rows per second and peak memory of the generator, by patients: ``rows_per_s_<n>``
and ``peak_gib_<n>``. ``featurize``: CPU, memory and events per second of the whole job, from CSV to
published shards, on FIDDLE's timing input and on dense synthetic tables; needs Linux.
``soak-featurize``: featurization killed at random moments, its bytes against an undisturbed run's.
``soak-train``: the same of pretraining, its weights and metrics; ``soak-nodes``: pretraining on a
simulated cluster that loses its nodes; both need Linux. ``soak``: the three soaks. ``train``:
steps of both stages of pretraining on random rows of the paper's sizes, in turn with the plain form
and a matrix product; the stream from shards; workers against one. All write to temporary folders
alone.
"""

import json
import sys
from dataclasses import dataclass
from typing import Annotated

import tyro

from medhmp.benchmark.featurize import Featurize
from medhmp.benchmark.soak_featurize import SoakFeaturize
from medhmp.benchmark.soak_nodes import SoakNodes
from medhmp.benchmark.soak_train import SoakTrain
from medhmp.benchmark.synthesize import Generator
from medhmp.benchmark.train import Train


@dataclass(frozen=True)
class Soak:
    """Whatever can be lost is lost, at length: the three soaks with their defaults."""

    def run(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, soak in (
            ("featurize", SoakFeaturize()),
            ("train", SoakTrain()),
            ("nodes", SoakNodes()),
        ):
            print(f"soak-{name}", flush=True)
            found |= {f"{name}_{figure}": value for figure, value in soak.run().items()}
        return found


def main() -> None:
    """Parses what to measure, measures it, prints a JSON line."""
    choice = tyro.cli(
        Annotated[Generator, tyro.conf.subcommand("synthesize")]
        | Annotated[Featurize, tyro.conf.subcommand("featurize")]
        | Annotated[Soak, tyro.conf.subcommand("soak")]
        | Annotated[SoakFeaturize, tyro.conf.subcommand("soak-featurize")]
        | Annotated[SoakTrain, tyro.conf.subcommand("soak-train")]
        | Annotated[SoakNodes, tyro.conf.subcommand("soak-nodes")]
        | Annotated[Train, tyro.conf.subcommand("train")],  # type: ignore[arg-type]
        prog="python -m jobs.benchmark",
        description=__doc__,
    )
    print(json.dumps({name: round(value, 4) for name, value in choice.run().items()}))


if __name__ == "__main__":
    sys.exit(main())
