"""Shards built and published; a build that was killed goes on where it stopped."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

from medhmp.layout import NOTES, OWN_TASKS
from medhmp.progress import Progress
from medhmp.refusal import find_refusal
from medhmp.run import digest
from medhmp.shards.build.journal import FOLDER, Journal
from medhmp.shards.build.pipeline import TABLES, Sections, build
from medhmp.shards.build.pool import joined_ray
from medhmp.shards.featurizer import Featurizer
from medhmp.shards.manifest import Manifest
from medhmp.storage import Folder, Stamp, publish
from medhmp.tables.schema import Source


def make_shards(
    asked: Sections,
    stamp: Stamp,
    sources: Callable[[], Sequence[Source]],
    shards: Folder,
    targets: Folder,
    progress: Progress,
    frozen: Featurizer | None,
) -> tuple[Manifest, float]:
    """Builds and publishes shards. On the Ray that this process has joined, else in it alone.

    A refusal removes all that was written. After any other failure it stays, as the same build may
    go on with it.

    Args:
        asked: what to build.
        stamp: decides whether an earlier build was this one; its fields go into the manifest.
        sources: opens the sources.
        shards: where the output goes.
        targets: where the auxiliary targets of training stays go, with ``features.numbers``.
        progress: is told how far the work is.
        frozen: makes the features and codes; none: a featurizer is fitted on training patients.

    Returns:
        The manifest, and the seconds that it took.
    """
    started = time.perf_counter()
    opened = sources()
    journal = _journal(shards, digest([stamp.hash, asked.shards.bucket_stays]), progress)
    try:
        built = build(asked, stamp.fields, opened, shards, targets, journal, progress, frozen)
    except Exception as error:
        if find_refusal(error):
            _clear(shards)
        raise
    seconds = round(time.perf_counter() - started, 1)
    ray = joined_ray()
    made = {
        "workers": int(ray.cluster_resources()["CPU"]) if ray else 1,
        "seconds": seconds,
        "peak_worker_bytes": built.peak,
        "stages": {name: asdict(spent) for name, spent in built.stages.items()},
    }
    shards.write_json("featurize.json", made)  # not content, so not an entry
    publish(shards / NOTES, stamp, built.notes)
    if built.targets:
        publish(targets, stamp, built.targets)
    publish(shards, stamp, built.entries)
    journal.folder.remove()
    return built.manifest, seconds


def _journal(shards: Folder, build: str, progress: Progress) -> Journal:
    """The journal of a killed run of this ``build`` (a hash); else a new one in an empty folder."""
    if journal := Journal.resume(shards, build, progress.say):
        progress.say("  going on where an earlier run was stopped")
        return journal
    _clear(shards)
    return Journal.begin(shards, build)


def _clear(shards: Folder) -> None:
    for name in (FOLDER, *TABLES, "labels", "attributes", NOTES, OWN_TASKS):
        (shards / name).remove()
