"""Give every trained model a folder of its own, which another machine can use.

    python -m jobs.export smoke --out runs/demo

Reads ``shards/``, the pretrainings, the grids in ``tune/`` and the figures in ``report/``. Writes
``models/<task>/<model>/<start>/`` for the chosen cell of each grid, all its replicates, and
``models/pretrain_stay/``, ``models/pretrain_admission/...`` for each pretraining: config.json, the
weights, manifest.json (the features, bins and codes), README.md (the model card). Such a folder is
what ``jobs.predict``, ``jobs.embed`` and ``medhmp.from_pretrained`` take; ``--features.frozen``
takes it, too.
"""

from __future__ import annotations

from typing import Final, NoReturn

from medhmp import command
from medhmp.progress import Progress
from medhmp.run import Run

READS: Final = ("out", "variant", "overwrite", "quiet", "private")
"""Sections and fields of a run that this job reads."""


def export(run: Run) -> None:
    """Writes ``models/`` under the run's home; folders that are whole are left as they are."""
    from medhmp.evaluate.predictions import find_grids, open_grids
    from medhmp.layout import MODELS, REPORT, home_of, model_of
    from medhmp.pretrained.card import Said
    from medhmp.pretrained.export import (
        config_of_grid,
        config_of_pretraining,
        results_of,
        stamp_of,
        write_grid,
        write_pretraining,
    )
    from medhmp.refusal import Refusal
    from medhmp.replacing import move_in, room_for
    from medhmp.report.material import pretrainings_of
    from medhmp.shards.manifest import open_shards
    from medhmp.storage import Folder, publish

    shards, progress = open_shards(run), Progress(run.quiet)
    out, home = Folder(run.out), Folder(home_of(run.out, run.variant))
    pretrainings = pretrainings_of(home, shards)
    keys = [key for key in find_grids(home.names()) if key[2] != "shuffled"]
    if not keys and not pretrainings:
        raise Refusal(f"{home} has no trained model; run jobs.pretrain_stay or jobs.tune first")
    labels = {task: own.fingerprint for task, own in shards.own.items()}
    begun = {**pretrainings_of(out, shards), **pretrainings}
    grids = open_grids(home, keys, shards.fingerprint, begun, labels)
    results, written = results_of(home, grids) if grids else {}, 0
    for place, output in pretrainings.items():
        if place.startswith("control") or "/control/" in place:
            continue
        config, folder = config_of_pretraining(output, shards), home / MODELS / place
        stamp = stamp_of(config, output, "")
        if room := room_for(folder, stamp, run.overwrite):
            publish(room, stamp, write_pretraining(room, config, output, shards))
            move_in(folder)
            written += 1
    for key, grid in grids.items():
        config, said = config_of_grid(key, grid, shards), Said.of(results, *key)
        folder, stamp = home / model_of(*key), stamp_of(config, grid, [said.row, said.floor])
        if room := room_for(folder, stamp, run.overwrite):
            publish(room, stamp, write_grid(room, config, grid, shards, said))
            move_in(folder)
            written += 1
    progress.say(f"export: {written} models written, {home / MODELS} (figures of {home / REPORT})")


def main() -> NoReturn:
    """The command line of this job."""
    command.main(__doc__, export, READS, needs_ray=False)


if __name__ == "__main__":
    main()
