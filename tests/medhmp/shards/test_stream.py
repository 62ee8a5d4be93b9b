"""Who reads which rows, in which order: files of odd sizes, several world sizes, both modes."""

import shutil
import threading
import time
from dataclasses import replace
from functools import cached_property
from itertools import chain

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.data import DataContext

from medhmp.layout import NOTE_EMBEDDINGS, note_embedding_columns
from medhmp.legend import NOTE_WIDTH
from medhmp.refusal import Refusal, find_refusal
from medhmp.shards import schema, stream
from medhmp.shards.datasource import rows_in
from medhmp.shards.note_vectors import read_notes
from medhmp.shards.stream import WINDOW, Plan, Share, windows
from medhmp.storage import Folder, Stamp, opened, publish
from medhmp.train.device import to_device

pytestmark = pytest.mark.ray

HOURS = 2
ROWS = (7, 23, 40, 5, 31)
"""Training rows of each file; every third row of a file is of another split."""
SMALL = 2  # rows per batch, so that a share is several windows
MEMORY, STREAMED = 1e9, 0.0  # budgets


def subjects(file):
    """Training patients of a file, whose number begins with the file's."""
    return [1000 * file + row for row in range(ROWS[file])]


def stay(subject):
    return {
        "stay_id": subject,
        "hour_offsets": [0, 1, 2],
        "feature_ids": [subject % 50, subject % 7],
        "demographic_ids": [subject % 3],
    }


def stays_rows(file):
    known = {"source": "s", "hadm_id": 0}
    for subject in subjects(file):
        yield {**known, "subject_id": subject, "split": "train", **stay(subject)}
        if subject % 3 == 0:
            yield {**known, "subject_id": subject + 500, "split": "test", **stay(0)}


def admissions_rows(file):
    """Every admission has none, one or two stays; its codes say whose it is."""
    known = {"source": "s", "split": "train", "admitted": None, "discharged": None}
    for subject in subjects(file):
        yield {
            **known,
            "subject_id": subject,
            "hadm_id": subject,
            "icd_ids": [subject % 90],
            "drug_ids": [],
            "stays": [stay(subject + part) for part in range(subject % 3)],
        }


@pytest.fixture(scope="module")
def plans(tmp_path_factory):
    """Plans over all training rows of two small tables."""
    shards = Folder(str(tmp_path_factory.mktemp("shards")))
    of = {
        "stays": (stays_rows, schema.stays(HOURS, 50, 3, False)),
        "admissions": (admissions_rows, schema.admissions(HOURS, 50, 3, False, 90, 9)),
    }
    names = [f"part-{file:05}.parquet" for file in range(len(ROWS))]
    sha256 = {table: {} for table in of}
    for table, (rows, target) in of.items():
        for file, name in enumerate(names):
            content = pa.Table.from_pylist(list(rows(file)), target)
            entry = shards.write_parquet(f"{table}/{name}", content, row_group_size=8)
            sha256[table][name] = entry.sha256
    publish(shards / NOTE_EMBEDDINGS, Stamp({}, {}), [])
    return {
        table: Plan(
            shards=shards.uri,
            table=table,
            rows_per_file=dict(zip(names, ROWS, strict=True)),
            splits=("train",),
            batch_size=SMALL,
            seed=0,
            budget=MEMORY,
            max_stays=3,
            sha256=sha256[table],
        )
        for table in of
    }


def shares(plan, world_size):
    """Those of all ranks."""
    return [Share(plan, rank, world_size) for rank in range(world_size)]


def order(batches):
    return [batch["subject_id"].tolist() for batch in batches]


@pytest.mark.parametrize(
    ("world_size", "budget"),
    [(1, STREAMED), (2, MEMORY), (3, STREAMED), (4, MEMORY), (5, STREAMED), (5, MEMORY)],
)
def test_ranks_take_as_many_batches_of_different_rows(ray, plans, world_size, budget):
    plan = replace(plans["stays"], budget=budget)
    dealt = [order(share.batches()(3)) for share in shares(plan, world_size)]
    check_deal(plan, world_size, 3, dealt, lambda name: subjects(int(name[5:10])))


def check_deal(plan, world_size, epoch, dealt, rows_of):
    """What holds of the batches (lists of rows) that each rank takes in an epoch."""
    sizes = [[len(batch) for batch in batches] for batches in dealt]
    assert all(of_rank == sizes[0] for of_rank in sizes)  # the average of the ranks is exact
    assert len(sizes[0]) == plan.steps(world_size)
    assert set(sizes[0][:-1]) <= {plan.batch_size}
    assert 0 < sizes[0][-1] <= plan.batch_size
    rows = [row for batches in dealt for batch in batches for row in batch]
    assert len(rows) == len(set(rows)) > plan.rows - world_size  # fewer than W are left out
    deal = 0 if plan.budget else epoch  # what is kept in memory stays where it is
    for rank, batches in enumerate(dealt):
        parts = plan.parts_of(rank, world_size, deal)
        own = set(chain(*(list(rows_of(part.name))[part.start : part.stop] for part in parts)))
        assert set(chain(*batches)) <= own


@pytest.mark.parametrize("budget", [MEMORY, STREAMED])
def test_the_order_depends_on_seed_epoch_and_world_size_alone(ray, plans, budget):
    plan = replace(plans["stays"], budget=budget)
    rank = Share(plan, rank=1, world_size=2)
    batches = rank.batches()
    third = order(batches(3))
    fourth = order(batches(4))
    assert third != fourth
    assert order(batches(3)) == third  # whatever was read in between
    assert order(rank.batches()(3)) == third
    assert order(Share(replace(plan, seed=1), 1, 2).batches()(3)) != third


@pytest.mark.parametrize("table", ["stays", "admissions"])
@pytest.mark.parametrize("budget", [MEMORY, STREAMED])
def test_an_epoch_begun_at_a_step_is_the_tail_of_the_whole(ray, plans, table, budget):
    batches = Share(replace(plans[table], budget=budget), rank=0, world_size=1).batches()
    whole, first = list(batches(1)), WINDOW + 3
    assert_equal(list(batches(1, first)), whole[first:])
    assert list(batches(1, len(whole))) == []


def assert_equal(some, others):
    """That the batches hold the same tensors, bit for bit."""
    assert len(some) == len(others) > 0
    for one, other in zip(some, others, strict=True):
        assert one.keys() == other.keys()
        assert all(one[name].dtype == other[name].dtype for name in one)
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_blocks_of_another_size_change_nothing(ray, plans, monkeypatch):
    share = Share(replace(plans["stays"], budget=STREAMED), 0, 1)
    expected = order(share.batches()(0))
    few_rows = 600  # bytes
    monkeypatch.setattr(DataContext.get_current(), "target_max_block_size", few_rows)
    assert order(share.batches()(0)) == expected


def test_a_rank_that_waits_for_others_leaves_them_what_they_read_with(ray, tmp_path, monkeypatch):
    """Ranks take their steps together. One that has read ahead all that its memory may hold stops
    reading in the middle of a file, and three must be able to do so with two CPUs."""
    monkeypatch.setattr(stream.ray, "cluster_resources", lambda: {"object_store_memory": 4 << 20})
    monkeypatch.setattr(DataContext.get_current(), "target_max_block_size", 100_000)
    shards, target = Folder(str(tmp_path)), schema.stays(HOURS, 50, 3, False)
    long = {"hour_offsets": [0, 5000, 10000], "feature_ids": np.zeros(10000, np.uint16)}
    rows = [
        {"source": "s", "hadm_id": 0, "subject_id": row, "split": "train", **stay(row), **long}
        for row in range(200)
    ]
    names = [f"part-{file:05}.parquet" for file in range(6)]
    content = pa.Table.from_pylist(rows, target)
    written = {
        name: shards.write_parquet(f"stays/{name}", content, row_group_size=2).sha256
        for name in names
    }
    counts = dict.fromkeys(names, len(rows))
    plan = Plan(shards.uri, "stays", counts, ("train",), SMALL, 0, STREAMED, 3, sha256=written)
    taken = []

    def take():
        ranks = [share.batches(epochs=1)(0) for share in shares(plan, 3)]
        taken.extend(zip(*ranks, strict=True))

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    thread.join(150)
    assert len(taken) == plan.steps(3) == 200


def test_streamed_rows_are_shuffled_among_windows_of_a_shuffled_order_of_files(ray, plans):
    share = Share(replace(plans["stays"], budget=STREAMED), 0, 1)
    rows = [list(chain(*order(share.batches()(epoch)))) for epoch in range(2)]
    for epoch in rows:
        first = {subject // 1000 for subject in epoch[: WINDOW * SMALL // 2]}
        assert len(first) < len(ROWS)  # the file order shows through
        assert epoch != sorted(epoch)
    assert [r // 1000 for r in rows[0]] != [r // 1000 for r in rows[1]]


def test_nothing_is_left_out_for_good(ray, plans):
    """106 rows are 21 for each of five ranks: an epoch leaves one out, not always the same."""
    ranks = [share.batches() for share in shares(replace(plans["stays"], batch_size=20), 5)]
    every = set(chain(*map(subjects, range(len(ROWS)))))
    left = [every - set(chain(*(chain(*order(of(epoch))) for of in ranks))) for epoch in range(9)]
    assert {len(rows) for rows in left} == {1}
    assert len(set.union(*left)) > 3


@pytest.mark.parametrize("table", ["stays", "admissions"])
def test_streamed_and_kept_in_memory_are_the_same_rows(ray, plans, table):
    plan = replace(plans[table], batch_size=sum(ROWS))
    kept, streamed = (
        next(Share(replace(plan, budget=budget), 0, 1).batches()(0))
        for budget in (MEMORY, STREAMED)
    )
    assert kept.keys() == streamed.keys()
    assert contents(kept) == contents(streamed)
    assert len(contents(kept)) == sum(ROWS)


def test_rows_carried_into_the_next_window_are_whole(ray, plans):
    """Batches of 5 leave rows over in nearly every window."""
    plan = replace(plans["admissions"], batch_size=5, budget=STREAMED)
    batches = list(Share(plan, 0, 1).batches()(0))
    assert [len(batch["subject_id"]) for batch in batches] == [5] * 21 + [1]
    for subject, content in chain(*(contents(batch).items() for batch in batches)):
        stays = [(s % 50, s % 7, s % 3) for s in range(subject, subject + subject % 3)]
        assert content == ([subject % 90], stays)


def contents(batch):
    """Subject -> its stay, or its admission's codes and stays, read from the tensors row by row."""
    of, subjects = {}, batch["subject_id"].tolist()
    ids, demographics = batch["feature_ids"].view(-1, HOURS), batch["demographic_ids"]
    stays = [
        (*features, static)
        for features, static in zip(ids.tolist(), demographics.tolist(), strict=True)
    ]
    if "stay_slot" not in batch:
        return dict(zip(subjects, stays, strict=True))
    slots = (batch["stay_slot"] // 3).tolist()
    for row, subject in enumerate(subjects):
        own = [s for s, slot in zip(stays, slots, strict=True) if slot == row]
        start, stop = batch["icd_offsets"][row : row + 2].tolist()
        of[subject] = (batch["icd_ids"][start:stop].tolist(), own)
    return of


def test_the_control_deals_hours_between_patients(ray, plans):
    plan = replace(plans["stays"], batch_size=sum(ROWS))
    straight, dealt = (
        contents(next(Share(replace(plan, shuffle_between_patients=c), 0, 1).batches()(0)))
        for c in (False, True)
    )
    assert straight.keys() == dealt.keys()
    moved = [straight[subject][:2] != dealt[subject][:2] for subject in straight]
    assert np.mean(moved) > 0.5
    for place in range(3):
        values = [sorted(stay[place] for stay in of.values()) for of in (straight, dealt)]
        assert values[0] == values[1]


def test_the_control_needs_its_share_in_memory(plans):
    plan = replace(plans["stays"], shuffle_between_patients=True, budget=STREAMED)
    with pytest.raises(Refusal, match="raise share_budget_gib"):
        Share(plan, 0, 1).batches()


def test_note_vectors_count_towards_the_budget(plans):
    vectors = sum(ROWS) * NOTE_WIDTH * 4  # bytes, far more than these shards
    plan = replace(plans["admissions"], budget=vectors, shuffle_between_patients=True)
    with pytest.raises(Refusal, match="share in memory"):
        Share(plan, 0, 1).batches()
    assert Share(replace(plan, note_width=NOTE_WIDTH // 2), 0, 1).is_kept


def test_a_batch_larger_than_a_ranks_rows_is_refused(plans):
    plan = replace(plans["stays"], batch_size=22)
    assert plan.steps(4) == 2  # of 26 rows
    with pytest.raises(Refusal, match=r"21 training stays for batches of 22; lower .* to 105 or"):
        plan.steps(5)
    with pytest.raises(Refusal, match=r"106 training stays for batches of 107; lower .* to 106 or"):
        replace(plan, batch_size=107).steps(1)


CORPORA = {"MIMIC-III's": 80_450, "the paper's": 100_563}


@pytest.mark.parametrize("rows", CORPORA.values(), ids=CORPORA)
@pytest.mark.parametrize("batch", [4, 32, 128])
def test_an_epoch_leaves_out_fewer_rows_than_there_are_workers(rows, batch):
    """For any number of workers, whatever the number of files: here 24, as hashes fill them."""
    cuts = np.sort(np.random.default_rng(rows).integers(0, rows, 23))
    plan = plan_of(np.diff(cuts, prepend=0, append=rows).tolist(), batch)
    for world_size in range(1, 65):
        parts = [plan.parts_of(rank, world_size, epoch=7) for rank in range(world_size)]
        assert sum(part.rows for part in chain(*parts)) == rows
        taken = plan.rows_per_rank(world_size)
        assert all(rows_in(of_rank) - taken in (0, 1) for of_rank in parts)
        assert rows - world_size < world_size * taken <= rows
        assert (plan.steps(world_size) - 1) * batch < taken <= plan.steps(world_size) * batch


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12), st.integers(1, 6), st.integers(1, 20))
def test_rows_are_dealt_once_and_every_rank_has_rows_for_every_step(rows, world_size, batch):
    plan = plan_of(rows, batch)
    for epoch in range(2 * len(rows)):
        dealt = [plan.parts_of(rank, world_size, epoch) for rank in range(world_size)]
        every = [(p.name, row) for p in chain(*dealt) for row in range(p.start, p.stop)]
        assert sorted(every) == [
            (name, row)
            for name in sorted(plan.rows_per_file)
            for row in range(plan.rows_per_file[name])
        ]
        assert min(map(rows_in, dealt)) == sum(rows) // world_size
    if sum(rows) // world_size < batch:
        with pytest.raises(Refusal):
            plan.steps(world_size)
    else:
        assert plan.steps(world_size) == -(-(sum(rows) // world_size) // batch)


def test_the_deal_rotates_over_all_files():
    plan = plan_of([1, 1, 1, 1, 1], 1)
    shares = [[part.name for part in plan.parts_of(1, 2, epoch)] for epoch in range(5)]
    assert shares[0] == ["2", "3", "4"]
    assert shares[1] == ["3", "4", "0"]
    assert set(chain(*shares)) == set(plan.rows_per_file)


def test_shards_without_a_row_to_read_are_said_to_be_so():
    for plan in (plan_of([0], 4), plan_of([0, 0, 0], 1)):
        with pytest.raises(Refusal, match=r"have no stays of the splits train, so there is nothin"):
            plan.steps(1)
    with pytest.raises(Refusal, match="a worker has 0 training stays for batches of 1"):
        plan_of([1, 0], 1).steps(2)


def plan_of(rows, batch_size, budget=MEMORY):
    """A plan over files "0", "1", ... with these rows, which lie nowhere."""
    width = len(str(len(rows) - 1))
    names = {f"{file:0{width}}": count for file, count in enumerate(rows)}
    return Plan("", "stays", names, ("train",), batch_size, 0, budget, 3)


ALL = pa.Table.from_pylist(
    [
        {"source": "s", "hadm_id": 0, "subject_id": row, "split": "train", **stay(row)}
        for row in range(12 * 40)
    ],
    schema.stays(HOURS, 50, 3, False),
)


class Cut(Share):
    """A share whose reader yields file i's rows, 40 i and on, cut at the multiples of a number."""

    cut = 7

    def _bytes(self, parts):
        return 1.0

    def _tables(self, parts):
        self.read.append(parts)
        for part in parts:
            for at in range(part.start, part.stop, self.cut):
                yield ALL.slice(40 * int(part.name) + at, min(self.cut, part.stop - at))

    @cached_property
    def read(self):
        return []


FILES = st.lists(st.integers(0, 40), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(
    FILES, st.integers(1, 4), st.integers(1, 5), st.integers(0, 30), st.sampled_from([MEMORY, 0.0])
)
def test_every_rank_sees_as_many_equal_batches(rows, world_size, batch, epoch, budget):
    plan = plan_of(rows, batch, budget)
    try:
        plan.steps(world_size)
    except Refusal:
        return
    ranks = [Cut(plan, rank, world_size) for rank in range(world_size)]
    dealt = [order(rank.batches()(epoch)) for rank in ranks]
    check_deal(
        plan, world_size, epoch, dealt, lambda name: range(40 * int(name), 40 * int(name) + 40)
    )


@settings(max_examples=60, deadline=None)
@given(
    FILES, st.integers(1, 3), st.integers(1, 3), st.integers(0, 90), st.sampled_from([MEMORY, 0.0])
)
def test_a_resumed_epoch_is_the_tail_and_reads_from_its_file_on(
    rows, world_size, batch, first, budget
):
    plan = plan_of(rows, batch, budget)
    try:
        first %= plan.steps(world_size)
    except Refusal:
        return
    share, other = Cut(plan, world_size - 1, world_size), Cut(plan, world_size - 1, world_size)
    whole = list(share.batches(epochs=6)(5))
    resumed = other.batches(epochs=6)
    other.read.clear()
    object.__setattr__(other, "cut", 3)  # wherever the reader cuts
    assert_equal(list(resumed(5, first)), whole[first:])
    if budget:
        assert other.read == []
    else:
        (parts,) = other.read
        assert parts == share.read[-1][-len(parts) :]
        before = rows_in(share.read[-1]) - rows_in(parts[1:])
        assert before > first // WINDOW * WINDOW * batch  # the first file holds a row of the window


def test_the_next_epoch_is_begun_before_one_ends():
    plan = plan_of([40, 40], 2, STREAMED)  # 40 steps
    expected = [order(Cut(plan, 0, 1).batches(epochs=epoch + 1)(epoch)) for epoch in range(3)]
    share = Cut(plan, 0, 1)
    batches = share.batches(epochs=3)
    for epoch in range(3):
        coming, reads = batches(epoch), len(share.read)
        found = [next(coming)["subject_id"].tolist() for _ in range(40 - WINDOW)]
        assert len(share.read) == max(reads, 1)
        found += order(coming)
        assert found == expected[epoch]
        deadline = time.monotonic() + 30
        while len(share.read) < min(epoch + 2, 3) and time.monotonic() < deadline:
            time.sleep(0.001)
        assert len(share.read) == min(epoch + 2, 3)
    assert order(batches(1)) == expected[1]  # whatever was begun meanwhile
    assert order(batches(1, 30)) == expected[1][30:]


@pytest.mark.parametrize("budget", [MEMORY, STREAMED])
def test_no_row_is_left_out_for_good(budget):
    """47 rows are 15 for each of three ranks, two of which have one more, and leave one out."""
    plan = plan_of([3, 40, 4], 2, budget)
    assert plan.steps(3) == 8
    ranks = [Cut(plan, rank, world_size=3).batches() for rank in range(3)]
    every = {*range(3), *range(40, 80), *range(80, 84)}
    taken = [set(chain(*(chain(*order(of(epoch))) for of in ranks))) for epoch in range(40)]
    assert all(len(rows) == 45 and rows <= every for rows in taken)
    assert len(set.union(*(every - rows for rows in taken))) > 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("budget", [MEMORY, STREAMED])
def test_what_a_gpu_gets_is_the_same_batch(budget):
    share = Cut(plan_of([40, 40], 4, budget), 0, 1)
    batches, pinned = share.batches()(1), share.batches(for_gpu=True)(1)
    for batch, narrow in zip(batches, pinned, strict=True):
        assert all(value.is_pinned() for value in narrow.values())
        assert narrow["feature_ids"].dtype == torch.uint16
        there = to_device(narrow, torch.device("cuda"))
        assert all(there[name].is_cuda for name in batch)
        assert_equal([{name: value.cpu() for name, value in there.items()}], [batch])


@given(
    st.lists(st.integers(0, 9), max_size=9),
    st.integers(1, 8),
    st.integers(0, 12),
    st.integers(0, 30),
)
def test_windows_are_the_same_wherever_tables_are_cut(cuts, size, skip, rows):
    tables, at = [], 0
    for cut in cuts:
        tables.append(pa.table({"row": pa.array(range(at, at + cut), pa.int64())}))
        at += cut
    if rows and skip + rows > at:
        with pytest.raises(Refusal, match=f"{skip + rows - at} rows fewer than their manifest"):
            list(windows(tables, size, skip, rows))
        return
    found = [table["row"].to_pylist() for table in windows(tables, size, skip, rows)]
    assert list(chain(*found)) == list(range(skip, skip + rows))
    assert all(len(window) == size for window in found[:-1])
    assert all(found)


def test_shards_with_fewer_rows_than_their_manifest_says_are_refused():
    plan = plan_of([5, 5], 2)
    share = Cut(replace(plan, rows_per_file={"0": 5, "11": 60}), 0, 1)  # rows end at 480
    with pytest.raises(Refusal, match="20 rows fewer than their manifest says"):
        share.batches()


def test_the_ranks_stream_or_keep_their_rows_together(plans):
    """Rank 1 of 2 alone would fit: it would then read rows that rank 0 streams."""
    plan, table = plans["stays"], Folder(plans["stays"].shards) / "stays"
    of, rows = table.sizes(), plan.rows_per_file
    sizes = [
        sum(2 * of[p.name] * p.rows // rows[p.name] for p in plan.parts_of(rank, 2))
        for rank in range(2)
    ]
    assert min(sizes) < max(sizes)
    for budget, kept in ((max(sizes), True), (min(sizes), False)):
        ranks = shares(replace(plan, budget=budget), 2)
        assert [share.is_kept for share in ranks] == [kept] * 2


@pytest.mark.parametrize("budget", [STREAMED, MEMORY])
def test_a_changed_bit_of_a_shard_is_refused(ray, plans, tmp_path, budget):
    plan = plans["stays"]
    shutil.copytree(plan.shards, tmp_path, dirs_exist_ok=True)
    name = sorted(plan.rows_per_file)[0]
    path = tmp_path / "stays" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)
    share = Share(replace(plan, shards=str(tmp_path), budget=budget), 0, 1)
    with pytest.raises(Exception, match="not what was written") as caught:
        list(share.batches()(0))
    assert f"{name} is missing or not what was written" in str(find_refusal(caught.value))


def test_notes_are_those_of_every_file_or_none(tmp_path):
    folder, entries = Folder(str(tmp_path)), []
    publish(folder, Stamp({}, {}), entries)
    assert len(read_notes(opened(folder, "embed_notes")).hadm_id) == 0
    for name, ids in (("b", [3, 1]), ("a", [2])):
        embedding = [[float(hadm)] * 768 for hadm in ids]
        table = pa.table({"hadm_id": ids, "embedding": embedding}, note_embedding_columns(768))
        entries.append(folder.write_parquet(f"{name}.parquet", table))
    publish(folder, Stamp({}, {}), entries)
    whole = opened(folder, "embed_notes")
    notes = read_notes(whole)
    assert notes.hadm_id.tolist() == [1, 2, 3]
    note, has = notes.of(np.array([3, 7, 1]))
    assert note[:, 0].tolist() == [3, 0, 1]
    assert has.tolist() == [True, False, True]
    folder.delete("a.parquet")
    with pytest.raises(Refusal, match=r"a\.parquet is missing or not what was written"):
        read_notes(whole)
    with pytest.raises(Refusal, match=r"a\.parquet is missing or not what was written"):
        opened(folder, "embed_notes")
