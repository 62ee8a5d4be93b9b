"""jobs.embed_notes on the session's Ray: what it writes, reuses, deletes and refuses."""

import hashlib
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.embed_notes import embed_notes
from medhmp.layout import NOTE_COLUMNS, note_embedding_columns
from medhmp.notes.encoder import embed, load_encoder, tiny_encoder
from medhmp.recipes import smoke
from medhmp.refusal import Refusal
from medhmp.run import Run
from medhmp.shards.manifest import content_of, open_shards
from medhmp.storage import COMPLETE, Folder, Stamp, opened, publish
from tests.manifests import manifest
from tests.medhmp.notes.folders import make_bert, to_flax

pytestmark = pytest.mark.ray

TEXTS = [
    "Admitted with shortness of breath.",
    "Hypotension after surgery; norepinephrine started. " * 20,  # two chunks
    "",
    "Admitted with shortness of breath.",  # the first note again, of another admission
    "Discharged home in good condition, sertraline continued.",
]
HADM_IDS = [40, 10, 30, 20, 50]


def a_run(out: str, texts: list[str], files: int = 2) -> Run:
    """A run whose shards hold these notes; only what embed_notes reads is there."""
    shards = Folder(out) / "shards"
    entry = shards.write_json("manifest.json", manifest(notes=len(texts)).to_json())
    run = replace(smoke(), out=out, quiet=True)
    publish(shards, Stamp(content_of(run, ()), {}), [entry])
    written = []
    for file in range(files if texts else 0):
        rows = range(file, len(texts), files)
        table = pa.table(
            {
                "hadm_id": [HADM_IDS[i] for i in rows],
                "note_hash": [hashlib.sha256(texts[i].encode()).hexdigest() for i in rows],
                "text": [texts[i] for i in rows],
            },
            schema=NOTE_COLUMNS,
        )
        name, notes = f"part-{file:05}.parquet", shards / "notes"
        written.append(notes.write_parquet(name, table, row_group_size=2))
    publish(shards / "notes", Stamp(content_of(run, ()), {}), written)
    return run


def read(run: Run) -> pa.Table:
    folder = Folder(run.out) / "shards" / "note_embeddings"
    names = [name for name in folder.names() if name.endswith(".parquet")]
    return pa.concat_tables([folder.read_parquet(name) for name in names])


def matrix(table: pa.Table) -> np.ndarray:
    return table["embedding"].combine_chunks().flatten().to_numpy().reshape(-1, 768)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory) -> Path:
    """A folder whose notes a job of its own has embedded, text kept, without a word on stderr:
    Ray's line about constructor arguments of actors comes once a process."""
    out = tmp_path_factory.mktemp("embedded")
    a_run(str(out), TEXTS)
    job = [sys.executable, "-m", "jobs.embed_notes", "smoke", "--quiet", "--notes.keep-text"]
    ended = subprocess.run([*job, "--out", str(out)], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    return out


@pytest.fixture
def run(embedded, tmp_path) -> Run:
    """The run of a copy of that folder."""
    shutil.copytree(embedded, tmp_path, dirs_exist_ok=True)
    return replace(smoke(), out=str(tmp_path), quiet=True)


def test_each_admission_gets_the_vector_of_its_own_note(run):
    table = read(run)
    assert table.schema.equals(note_embedding_columns(768))
    assert table["hadm_id"].to_pylist() == sorted(HADM_IDS)
    alone = {
        hadm_id: embed(tiny_encoder(), [text], run.notes)[0]
        for hadm_id, text in zip(HADM_IDS, TEXTS, strict=True)
    }
    expected = np.stack([alone[hadm_id] for hadm_id in sorted(HADM_IDS)])
    np.testing.assert_allclose(matrix(table), expected, rtol=1e-4, atol=1e-5)
    assert np.array_equal(matrix(table)[1], matrix(table)[3])  # hadm_id 20 and 40: one text


def test_keep_text_keeps_it(run):
    assert (Folder(run.out) / "shards" / "notes").names() == [
        "complete.json",
        "part-00000.parquet",
        "part-00001.parquet",
    ]


@pytest.mark.s3
@pytest.mark.parametrize("cpus", [1.0, 12.0])
def test_a_bucket_and_other_actors_give_the_same_bytes_announced_and_without_text(
    ray, embedded, s3, monkeypatch, capfd, cpus
):
    """One actor, or a cluster that says it has more CPUs than it has, as one that others work on:
    no piece waits for an actor that has no room."""
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": cpus})
    embed_notes(replace(a_run(f"{s3}/run", TEXTS), quiet=False))
    there, here = (Folder(str(out)) / "shards" for out in (f"{s3}/run", embedded))
    names = sorted((here / "note_embeddings").names())
    assert names == [COMPLETE, "part-00000.parquet"]
    one, other = (of / "note_embeddings" for of in (there, here))
    assert one.read_bytes(names[1]) == other.read_bytes(names[1])
    assert opened(one, "embed_notes").hash == opened(other, "embed_notes").hash
    assert not (there / "notes").names()
    printed = "".join(capfd.readouterr())
    assert "carry little" in printed
    assert "5, 4 different" in printed
    assert "norepinephrine" not in printed
    assert "shortness" not in printed


def test_rerun_is_skipped_and_finishes_the_deletion(ray, run, tmp_path):
    written = tmp_path / "shards" / "note_embeddings" / "part-00000.parquet"
    before = written.stat().st_mtime_ns
    embed_notes(run)
    assert written.stat().st_mtime_ns == before
    assert not (tmp_path / "shards" / "notes").exists()


def test_no_notes_publishes_an_empty_output_and_says_so(ray, tmp_path, capsys):
    run = replace(a_run(str(tmp_path), []), quiet=False)
    embed_notes(run)
    assert "this run has none" in capsys.readouterr().out
    table = pq.read_table(tmp_path / "shards" / "note_embeddings" / "part-00000.parquet")
    assert table.num_rows == 0
    assert table.schema.equals(note_embedding_columns(768))


def test_a_bert_gives_vectors_of_its_own_width_which_the_stamp_has(ray, run, tmp_path):
    model = to_flax(make_bert(tmp_path / "bert"))  # 48 wide, 20 positions
    other = replace(run, notes=replace(run.notes, model=model), overwrite=True)
    assert open_shards(run).widths.note == 768
    embed_notes(other)
    assert open_shards(other).widths.note == 48
    table, encoder = read(other), load_encoder(model)
    assert table.schema.equals(note_embedding_columns(48))
    alone = dict(zip(HADM_IDS, (embed(encoder, [t], run.notes)[0] for t in TEXTS), strict=True))
    expected = np.stack([alone[hadm_id] for hadm_id in sorted(HADM_IDS)])
    vectors = np.stack(table["embedding"].to_pylist())
    np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)


def test_another_encoder_is_refused_and_vectors_without_text_are_not_overwritten(ray, run):
    (Folder(run.out) / "shards" / "notes").remove()
    other = replace(run, notes=replace(run.notes, max_tokens=64))
    with pytest.raises(Refusal, match=r"notes\.max_tokens was 512, is 64"):
        embed_notes(other)
    with pytest.raises(Refusal, match="is gone, as text is deleted once it is embedded"):
        embed_notes(replace(other, overwrite=True))
    assert read(run).num_rows == len(TEXTS)  # still there
    (Folder(run.out) / "shards" / "note_embeddings").remove()
    with pytest.raises(Refusal, match=r"remove the shards and run jobs\.featurize first"):
        embed_notes(run)


def test_shards_must_be_whole(ray, tmp_path):
    with pytest.raises(Refusal, match=r"run jobs\.featurize first"):
        embed_notes(replace(smoke(), out=str(tmp_path), quiet=True))
