"""Make the shards that training reads: raw tables to sparse features, codes, labels and splits.

    python -m jobs.featurize smoke --out runs/demo
    python -m jobs.featurize paper --tables.sources mimic3=/data/mimic-iii-1.4 --out runs/mimic3

Reads   the raw tables of the source, or OUT/raw where none is named; its name decides the reader
Writes  OUT/shards/manifest.json, {stays,admissions,patients}/part-*.parquet, labels/<task>.parquet
        OUT/shards/notes/*.parquet (text, which jobs.embed_notes deletes)
        OUT/shards/featurize.json (workers, memory, seconds of each stage)
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import ModuleType
from typing import Final

import ray

from medhmp import command
from medhmp.refusal import Refusal
from medhmp.run import Run, digest, fields_of
from medhmp.shards.build import TABLES, WORK, build
from medhmp.shards.manifest import SYNTHETIC, Manifest, content_of
from medhmp.storage import Folder, Output, Stamp, is_done, opened, publish
from medhmp.tables import fiddle, mimic3, mimic4, physionet2012
from medhmp.tables.schema import Source

READERS: Final[Mapping[str, ModuleType]] = {
    "mimic3": mimic3,
    "mimic4": mimic4,
    "physionet2012": physionet2012,
    "fiddle": fiddle,
    SYNTHETIC: mimic3,  # shaped as MIMIC-III
}
"""``read(name, uri, run)`` makes the source; ``files(folder)`` says the size of each file of it."""


def featurize(run: Run) -> None:
    """Writes ``shards/`` under ``run.out``, or finds it whole. Ray must be initialized."""
    places = run.tables.named() or {SYNTHETIC: (Folder(run.out) / "raw").uri}
    _refuse_unknown(places)
    shards = Folder(run.out) / "shards"
    inputs = {name: _fingerprint(run, name, Folder(uri)) for name, uri in places.items()}
    stamp = Stamp(content_of(run, places), inputs)
    if is_done(shards, stamp, run.overwrite):
        return command.say(run, f"shards: whole already, {shards}")
    started = time.perf_counter()
    sources = [READERS[name].read(name, uri, run) for name, uri in places.items()]
    _clear(shards)  # what an interrupted run has left
    try:
        built = build(run, sources, shards)
    except Exception:
        _clear(shards)
        raise
    seconds = round(time.perf_counter() - started, 1)
    workers = int(ray.cluster_resources()["CPU"])
    made = {
        "workers": workers,
        "seconds": seconds,
        "peak_worker_bytes": built.peak,
        "stages": {name: asdict(spent) for name, spent in built.stages.items()},
    }
    shards.write_json("featurize.json", made)  # not content, so not an entry
    publish(shards / "notes", stamp, built.notes)
    publish(shards, stamp, built.entries)
    _tell(run, built.manifest, sources)
    command.say(run, f"shards in {seconds:.0f} s: {shards}")


def _clear(shards: Folder) -> None:
    for name in (WORK, *TABLES, "labels", "notes"):
        (shards / name).remove()


def _refuse_unknown(places: dict[str, str]) -> None:
    for name in places:
        if name not in READERS:
            raise Refusal(
                f"tables.sources names '{name}', for which there is no reader; "
                f"the name before = must be one of {', '.join(READERS)}"
            )


def _fingerprint(run: Run, name: str, folder: Folder) -> str:
    """Content hash of an output of ours; of foreign tables, names and sizes."""
    if name == SYNTHETIC:
        cohort = opened(folder, "synthesize")
        cohort.check(fields_of(run, "tables.synthetic"), "synthesize")
        return cohort.fingerprint
    if output := Output.of(folder):
        return output.fingerprint
    return digest(sorted(READERS[name].files(folder).items()))


def _tell(run: Run, manifest: Manifest, sources: Sequence[Source]) -> None:
    """The counts a reader wants to see at once."""
    for source in sources:
        if not manifest.counts[source.name]["notes"]:
            command.say(run, f"{source.name}: no discharge note; admissions go without")
    sizes = manifest.widths
    command.say(
        run,
        f"  {sizes.features:,} hourly and {sizes.demographics:,} demographic features, "
        f"{sizes.diagnoses:,} diagnoses, {sizes.drugs:,} drugs",
    )
    for task, counts in manifest.tasks.items():
        if counts.unavailable:
            command.say(run, f"  {task}: {counts.unavailable}")
            continue
        parts = [f"{split} {n:,} ({counts.positives[split]:,})" for split, n in counts.rows.items()]
        command.say(run, f"  {task}: {', '.join(parts)} rows (positive)")


if __name__ == "__main__":
    command.main(__doc__, featurize)
