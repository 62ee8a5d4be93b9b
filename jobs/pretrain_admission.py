"""Stage two: masked code prediction and contrast over the modalities of admissions (Eq. 4-11).

    python -m jobs.pretrain_admission smoke --out runs/demo --pretrain-admission.epochs 20

Reads ``shards/`` and ``pretrain_stay/``. Writes ``pretrain_admission/from_stay/`` (begun from stage
one's whole stay encoder) and ``pretrain_admission/from_scratch/``, each as stage one's output.
"""

from medhmp import command
from medhmp.run import Run
from medhmp.storage import Folder
from medhmp.train.launch import Stage, pretrain


def pretrain_admission(run: Run) -> None:
    """Trains stage two for the starts of the run: from stage one, from scratch, and the control."""
    root = Folder(run.out)
    starts = run.tune.starts
    if "both" in starts:
        begin = (root / "pretrain_stay").uri
        pretrain(run, Stage("pretrain_admission", folder_of(root, "from_stay").uri, begin))
    if "admission" in starts:
        pretrain(run, Stage("pretrain_admission", folder_of(root, "from_scratch").uri))
    if "shuffled" in starts:
        begin = (root / "control" / "pretrain_stay").uri
        folder = root / "control" / "pretrain_admission" / "from_stay"
        pretrain(run, Stage("pretrain_admission", folder.uri, begin, shuffled=True))


def folder_of(root: Folder, begun: str) -> Folder:
    """Where stage two begun ``from_stay`` or ``from_scratch`` lies."""
    return root / "pretrain_admission" / begun


if __name__ == "__main__":
    command.main(__doc__, pretrain_admission)
