"""The actor that embeds notes."""

import hashlib
import logging

import numpy as np
import pyarrow as pa
import pytest

from medhmp.layout import NOTE_COLUMNS
from medhmp.notes.embed import Embedder, Piece
from medhmp.notes.encoder import embed, tiny_encoder
from medhmp.run import Notes
from medhmp.storage import Folder, Stamp, opened, publish

TEXTS = ["the patient was started on vancomycin", "sepsis", "", "pneumonia and sepsis " * 40]


def write_notes(folder, texts):
    hashes = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    columns = {"hadm_id": range(len(texts)), "note_hash": hashes, "text": texts}
    table = pa.table(columns, schema=NOTE_COLUMNS)
    entry = Folder(folder).write_parquet("notes.parquet", table)
    publish(Folder(folder), Stamp({}, {}), [entry])
    return hashes


def test_the_actor_embeds_the_rows_it_is_given(tmp_path):
    hashes = write_notes(str(tmp_path), TEXTS)
    piece = Piece("notes.parquet", 0, [3, 1])
    result = Embedder(opened(Folder(str(tmp_path)), "featurize"), Notes()).embed(piece)
    assert result["note_hash"].to_pylist() == [hashes[3], hashes[1]]
    expected = embed(tiny_encoder(), [TEXTS[3], TEXTS[1]], Notes())
    assert np.array_equal(np.stack(result["embedding"].to_pylist()).astype(np.float32), expected)


def test_no_error_or_log_of_the_actor_holds_text(tmp_path, caplog):
    write_notes(str(tmp_path), ["a secret note"])
    actor = Embedder(opened(Folder(str(tmp_path)), "featurize"), Notes())

    def fail(texts):
        raise ValueError(f"cannot tokenize {texts}")

    object.__setattr__(actor._encoder, "tokenize", fail)
    with caplog.at_level(logging.DEBUG), pytest.raises(RuntimeError) as caught:
        actor.embed(Piece("notes.parquet", 0, [0]))
    assert "ValueError at" in str(caught.value)
    assert "secret" not in str(caught.value) + caplog.text
    assert caught.value.__suppress_context__
