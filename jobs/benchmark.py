"""Measure speed and memory. The last line of each is one JSON object.

    python -m jobs.benchmark synthesize --patients 500 10000
    python -m jobs.benchmark featurize --fiddle 1000 10000 --stays 1000
    python -m jobs.benchmark soak
    python -m jobs.benchmark soak-featurize --kills 20
    python -m jobs.benchmark soak-train --kills 30
    python -m jobs.benchmark soak-nodes
    python -m jobs.benchmark soak-faults --signals 3 --pairs 2 --disks 1 --read-only 1
    python -m jobs.benchmark train
    python -m jobs.benchmark train --device cuda --epochs --paper-batch
    python -m jobs.benchmark grid --root runs/demo --tasks mortality
    python -m jobs.benchmark predict --stays 1000 10000
    python -m jobs.benchmark fuzz --mutations 10000 --seed 0
    python -m jobs.benchmark bootstrap
    python -m jobs.benchmark coverage
    python -m jobs.benchmark folds --sources physionet2012=/data/challenge-2012 --out runs/folds

``synthesize``: rows per second and peak memory of the generator, by patients: ``rows_per_s_<n>``
and ``peak_gib_<n>``. ``featurize``: CPU, memory and events per second of the whole job, from CSV to
published shards, on FIDDLE's timing input and on dense synthetic tables; needs Linux.
``soak-featurize``: featurization killed at random moments, its bytes against an undisturbed run's.
``soak-train``: the same of pretraining, its weights and metrics; ``soak-nodes``: pretraining on a
simulated cluster that loses its nodes; both need Linux. ``soak``: the soaks. ``soak-faults``: every
stage under signals, second drivers, full and read-only disks. ``train``: steps of both stages of
pretraining on random rows of the paper's sizes, in turn with the plain form and a matrix product;
the stream from shards; workers against one. ``bootstrap``: seconds of the report's resampling of
patients, and how far it is from a loop over scikit-learn. ``coverage``: how often the report's
intervals hold the truth, on simulated sets of predictions. ``grid``: fits per second of
``jobs.tune`` on a slice of MedHMP's grid, and minutes of the whole; needs Linux. ``fuzz``: damaged
files read by every reader; fails where one does other than refuse. ``folds``: models compared by
cross-validation, each fold featurized, pretrained and searched anew. ``predict``: stays per second
and peak memory of that job, from raw tables and from shards. All write to temporary folders
alone, unless ``--out`` of ``fuzz`` and ``folds`` or ``--place`` of ``soak-faults`` says where.
"""

import importlib
import json
import sys
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from medhmp import command

MEASUREMENTS: Final = {
    "synthesize": "synthesize:Generator",
    "featurize": "featurize:Featurize",
    "soak-featurize": "soak_featurize:SoakFeaturize",
    "soak-train": "soak_train:SoakTrain",
    "soak-nodes": "soak_nodes:SoakNodes",
    "soak-faults": "soak_faults:SoakFaults",
    "train": "train:Train",
    "grid": "grid:Grid",
    "predict": "predict:Predict",
    "fuzz": "fuzz:Fuzz",
    "bootstrap": "bootstrap:Bootstrap",
    "coverage": "coverage:Coverage",
    "folds": "folds:Folds",
}
"""Argument -> module below ``medhmp.benchmark`` and its class, imported when it is asked for."""
SOAKS: Final = ("soak-featurize", "soak-train", "soak-nodes", "soak-faults")


@dataclass(frozen=True)
class Soak:
    """The soaks with their defaults, at length: everything that can be lost is lost."""

    def run(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for name in SOAKS:
            print(name, flush=True)
            figures = measurement(name)().run()
            found |= {f"{name.removeprefix('soak-')}_{of}": figures[of] for of in figures}
        return found


def main() -> NoReturn:
    """Parses what to measure, measures it, prints a JSON line and exits."""
    names, given = (*MEASUREMENTS, "soak"), sys.argv[1] if len(sys.argv) > 1 else None
    program = command.program()
    if given in ("-h", "--help"):
        print(
            f"{(__doc__ or '').strip()}\n\nusage: {program} {{{','.join(names)}}} [--field value]"
        )
        print(f"fields and their defaults: {program} MEASUREMENT --help")
        sys.exit(0)
    if given not in names:
        said = f"'{given}' cannot be measured" if given else "what to measure is missing"
        print(f"{program}: {said}; give one of {', '.join(names)}", file=sys.stderr)
        sys.exit(2)
    import tyro

    chosen = tyro.cli(measurement(given), args=sys.argv[2:], prog=f"{program} {given}")
    print(json.dumps({name: round(value, 4) for name, value in chosen.run().items()}))
    sys.exit(0)


def measurement(name: str) -> type[Any]:
    """The class of a measurement: its fields are its settings, ``run()`` measures."""
    if name == "soak":
        return Soak
    module, _, of = MEASUREMENTS[name].partition(":")
    found: type[Any] = getattr(importlib.import_module(f"medhmp.benchmark.{module}"), of)
    return found


if __name__ == "__main__":
    main()
