"""A run that is refused under --overwrite has removed nothing, whichever job it is of."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.embed_notes import embed_notes
from jobs.featurize import featurize
from jobs.pretrain_admission import pretrain_admission
from jobs.pretrain_stay import pretrain_stay
from jobs.synthesize import synthesize
from jobs.tune import tune
from medhmp.run import Run
from medhmp.storage import COMPLETE, Folder, Output

pytestmark = pytest.mark.ray

REFUSED = {
    synthesize: ("--tables.synthetic.density", "0"),
    featurize: ("--features.frozen", "{out}/shards"),
    embed_notes: ("--notes.max-tokens", "9"),
    pretrain_stay: ("--pretrain-stay.batch-size", "32768"),
    pretrain_admission: ("--pretrain-admission.batch-size", "32768"),
    tune: (
        *("--tune.tasks", "mortality", "--tune.models", "medhmp", "--tune.starts", "none"),
        *("--tune.search", "medhmp.learning_rate=1e30", "medhmp.batch_size=32"),
    ),
}


@pytest.mark.parametrize("job", REFUSED, ids=lambda job: job.__name__)
def test_a_refused_run_leaves_the_old_output_whole(
    tuned: Run, arguments: list[str], refused: Callable[..., str], job: Callable[[Run], None]
) -> None:
    places = [path.parent for path in Path(tuned.out).rglob(COMPLETE)]
    before = {place: (place / COMPLETE).read_bytes() for place in places}
    more = [argument.format(out=tuned.out) for argument in REFUSED[job]]
    refused(job, *arguments, "--out", tuned.out, "--overwrite", *more)
    for begun in list(Path(tuned.out).rglob("*.new")):  # else goes with the next run
        shutil.rmtree(begun)
    for place, record in before.items():
        assert (place / COMPLETE).read_bytes() == record
        output = Output.of(Folder(str(place)))
        assert output is not None
        assert output.damaged() is None
