"""Shards made of raw tables by a trained model's own featurizer, in one process or on Ray."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from medhmp.layout import AUXILIARY, NOTES, SHARDS
from medhmp.progress import Progress
from medhmp.replacing import room_for
from medhmp.run import Run, fields_of
from medhmp.shards.build.pipeline import Sections
from medhmp.shards.build.publish import make_shards
from medhmp.shards.featurizer import frozen_featurizer
from medhmp.shards.manifest import FROZEN, VARIABLES, content_of
from medhmp.storage import Folder, Output, Stamp
from medhmp.tables.ranges import fingerprint as ranges_fingerprint
from medhmp.tables.ranges import read_variables
from medhmp.tables.sources import folders_of, identify, open_sources


def featurize(model: Output, run: Run, tables: Mapping[str, str], work: str) -> str:
    """Writes ``work/shards/`` of raw tables, or finds it whole; returns its URI.

    Args:
        model: the folder whose featurizer is taken.
        run: with the fields that the model was made with.
        tables: name of a reader -> URI of its tables, as ``tables.sources``.
        work: a folder for the shards. The text of notes is not kept there.

    Raises:
        Refusal: the tables cannot be read, or hardly fill the model's columns.
    """
    sources = tuple(f"{name}={uri}" for name, uri in tables.items())
    run = replace(run, out=work, quiet=True, tables=replace(run.tables, sources=sources))
    run.check()
    root = Folder(work)
    shards, folders = root / SHARDS, folders_of(run.tables, root)
    fields, synthetic = content_of(run, folders), fields_of(run, "tables.synthetic")
    inputs = {name: identify(name, of, synthetic).hash for name, of in folders.items()}
    if ranges := ranges_fingerprint(run.tables.variables):
        inputs[VARIABLES] = ranges
    stamp = Stamp(fields, inputs | {FROZEN: model.fingerprint})
    if room := room_for(shards, stamp, resumes=True):
        quantities = read_variables(run.tables.variables)
        asked = Sections(run.cohort, run.splits, run.features, run.shards, quantities)
        featurizer = frozen_featurizer(model, fields)
        opened = partial(open_sources, folders, run)
        targets = root / AUXILIARY
        make_shards(asked, stamp, opened, room, targets, Progress(quiet=True), featurizer)
        (shards / NOTES).remove()
    return shards.uri
