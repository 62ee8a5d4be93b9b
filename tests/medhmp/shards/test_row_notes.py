"""The text of notes as the tokens of labelled rows, against one note at a time."""

import itertools

import numpy as np
import pyarrow as pa
import pytest

from medhmp.layout import NOTE_COLUMNS
from medhmp.notes.encoder import Encoder, load_trainable
from medhmp.refusal import Refusal
from medhmp.shards.manifest import OpenShards
from medhmp.shards.row_notes import NotesRead, read_row_notes
from medhmp.storage import Folder, Stamp, opened, publish
from tests.manifests import manifest
from tests.medhmp.notes.folders import POSITIONS, make_bert, make_t5

TEXTS = {7: "sepsis and pneumonia", 3: "the patient was started on vancomycin " * 9, 5: ""}


@pytest.fixture
def shards(tmp_path):
    """Shards with three notes in two files."""
    folder = Folder(str(tmp_path)) / "shards"
    rows = [{"hadm_id": h, "note_hash": str(h), "text": t} for h, t in TEXTS.items()]
    text = [
        (folder / "notes").write_parquet(
            f"{name}.parquet", pa.Table.from_pylist(part, NOTE_COLUMNS), row_group_size=1
        )
        for name, part in (("part-0", rows[:2]), ("part-1", rows[2:]))
    ]
    publish(folder / "notes", Stamp({}, {}), text)
    publish(folder, Stamp({}, {}), [])
    return OpenShards(opened(folder, "featurize"), manifest(notes=3))


@pytest.mark.parametrize("family", ["t5", "bert", "tiny t5", "tiny bert"])
def test_rows_have_the_first_tokens_of_their_admission_s_note(shards, tmp_path, family):
    kind = family.removeprefix("tiny ")
    folder = {"t5": make_t5, "bert": make_bert}.get(family, lambda _: None)(tmp_path / kind)
    encoder = load_trainable(folder, kind)
    hadm, most = np.array([5, 3, 7, 4, 3]), POSITIONS if family == "bert" else 24
    read = read_row_notes(shards, hadm, NotesRead(encoders={kind: encoder}, max_tokens=24))
    batch = read.batch(np.array([2, 0, 1, 3, 4]))
    ends = batch[f"{kind}_offsets"].tolist()
    rows = [batch[f"{kind}_ids"][a:b].tolist() for a, b in itertools.pairwise(ends)]
    opening = [] if kind == "t5" else [encoder.begin]
    for row, admission in zip(rows, [7, 5, 3, 4, 3], strict=True):
        ids = encoder.tokenize([TEXTS.get(admission, "")])[0]
        assert row == [*opening, *ids[: most - 1 - len(opening)], encoder.end]
    assert max(map(len, rows)) == most


def test_text_that_is_not_there_is_refused_with_a_remedy(shards):
    read = NotesRead(encoders={"bert": load_trainable(None, "bert")})
    (shards.folder / "notes").remove()
    with pytest.raises(Refusal, match=r"notes is gone, as text .* --notes\.keep-text"):
        read_row_notes(shards, np.array([7]), read)
    with pytest.raises(Refusal, match="shards has no notes, whose text a model of this run reads"):
        read_row_notes(OpenShards(shards.output, manifest()), np.array([7]), read)


def test_an_error_of_a_tokenizer_never_tells_the_note(shards):
    def fail(texts):
        raise ValueError(texts[0])

    encoder = Encoder(None, fail, end=1, padding=0, family="bert", begin=2)
    with pytest.raises(RuntimeError, match=r"part-0\.parquet failed: ValueError") as raised:
        read_row_notes(shards, np.array([7]), NotesRead(encoders={"bert": encoder}))
    assert "sepsis" not in str(raised.value)
    assert raised.value.__suppress_context__
