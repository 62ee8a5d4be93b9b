"""Checkpoints are whole or not there, and never trusted blindly."""

import random
from dataclasses import replace

import pytest
import torch

from medhmp.refusal import Refusal
from medhmp.storage import Folder, Stamp, publish
from medhmp.train import checkpoint
from medhmp.train.checkpoint import Checkpoint, Position

STAMP = Stamp({"a": 1}, {"shards": "0123456789abcdef"})
VARIANTS = 100


@pytest.fixture
def folder(tmp_path):
    return Folder(str(tmp_path / "pretrain"))


def made(position):
    """A checkpoint whose every number tells where it was made."""
    number = float(position.epoch * 1000 + position.step)
    return Checkpoint(
        position,
        weights={"w": torch.full((3,), number), "b": torch.full((2, 2), -number)},
        optimizer={
            "state": {0: {"step": torch.tensor(number), "exp_avg": torch.full((3,), 1e-9)}},
            "param_groups": [{"lr": 1.0, "betas": (0.9, 0.999), "params": [0]}],
        },
        metrics=[{"epoch": e, "loss": 0.1 * e} for e in range(position.epoch)],
        meters=[{"rows": 8, "names": ["loss"], "sums": torch.tensor([number / 3]).double()}],
        guard={"calm": [0.1, 0.2], "unit": 0.2, "exploding": 0},
    )


def save(folder, *at, keep=2, stamp=STAMP):
    checkpoint.save(folder, made(Position(*at)), "{}", stamp, keep)


def assert_is(found, position):
    assert plain(found) == plain(made(position))


def plain(state):
    """The same with lists for tensors, which compare."""
    if isinstance(state, Checkpoint):
        return {name: plain(value) for name, value in vars(state).items()}
    if isinstance(state, dict):
        return {name: plain(value) for name, value in state.items()}
    if isinstance(state, list):
        return [plain(value) for value in state]
    return (state.dtype, state.tolist()) if torch.is_tensor(state) else state


def kept(folder):
    return {name.split("/")[0] for name in (folder / "checkpoints").names()}


def test_the_newest_is_read_back_whole_and_older_ones_go(folder):
    for at in ((0, 7), (1, 0), (1, 7), (10, 0), (10, 7)):
        save(folder, *at)
    assert_is(checkpoint.newest(folder, STAMP), Position(10, 7))
    assert kept(folder) == {"epoch-00010-step-000000", "epoch-00010-step-000007"}


@pytest.mark.s3
def test_so_it_is_in_a_bucket(s3):
    folder = Folder(s3) / "pretrain"
    for at in ((0, 7), (1, 0), (1, 7)):
        save(folder, *at)
    (folder / "checkpoints" / "epoch-00001-step-000007").write_bytes("state.pt", b"torn")
    heard = []
    assert_is(checkpoint.newest(folder, STAMP, tell=heard.append), Position(1))
    assert len(heard) == 1
    checkpoint.remove_others(folder, Position(1))
    assert kept(folder) == {"epoch-00001-step-000000"}


def damage(folder, draw):
    """Flips a bit of a file, truncates it or deletes it; returns its name."""
    name = draw.choice([*sorted(checkpoint.FILES), "complete.json"])
    data = folder.read_bytes(name)
    how = draw.choice(["flip", "truncate", "delete"])
    at = draw.randrange(len(data))
    if how == "delete":
        folder.delete(name)
    elif how == "truncate":
        folder.write_bytes(name, data[:at])
    else:
        changed = data[at] ^ (1 << draw.randrange(8))
        folder.write_bytes(name, data[:at] + bytes([changed]) + data[at + 1 :])
    return name


@pytest.mark.parametrize("seed", range(VARIANTS))
def test_whatever_happens_to_the_newest_the_one_before_is_used_and_this_is_said(folder, seed):
    save(folder, 4, 0)
    save(folder, 4, 7)
    place = folder / "checkpoints" / "epoch-00004-step-000007"
    name = damage(place, random.Random(seed))
    heard = []
    found = checkpoint.newest(folder, STAMP, tell=heard.append)
    assert_is(found, Position(4))
    (line,) = heard
    assert line.startswith(f"{place} is not used: ")
    assert name in line or name == "complete.json"  # which may accuse another
    assert "\n" not in line


def test_a_record_written_anew_in_other_words_is_the_same(folder):
    """Only what it says counts: here, a bit of white space."""
    save(folder, 1)
    place = folder / "checkpoints" / "epoch-00001-step-000000"
    place.write_bytes("complete.json", place.read_bytes("complete.json") + b"\n")
    assert_is(checkpoint.newest(folder, STAMP), Position(1))


def test_if_none_is_sound_there_is_none(folder):
    save(folder, 0, 7)
    save(folder, 1, 0)
    for name in kept(folder):
        (folder / "checkpoints" / name).delete("model.safetensors")
    heard = []
    assert checkpoint.newest(folder, STAMP, tell=heard.append) is None
    assert len(heard) == 2


def test_what_a_continued_run_writes_anew_is_removed_before(folder):
    for step in (1, 2, 3):
        save(folder, 0, step, keep=9)
    torn = folder / "checkpoints" / "epoch-00000-step-000000"
    torn.write_bytes("model.safetensors", b"half")
    checkpoint.remove_others(folder, Position(0, 2))
    assert checkpoint.positions(folder) == [Position(0, 1), Position(0, 2)]
    checkpoint.remove_others(folder, None)
    assert not checkpoint.positions(folder)


def test_another_runs_checkpoint_is_refused_or_overwritten(folder):
    save(folder, 0, 5)
    other = Stamp({"a": 2}, {})
    with pytest.raises(Refusal, match="another run"):
        checkpoint.newest(folder, other)
    assert checkpoint.newest(folder, other, overwrite=True) is None
    assert not (folder / "checkpoints").names()


def test_damaged_or_missing_weights_are_refused(folder):
    """Also a single flipped bit, which safetensors itself takes for another weight."""
    with pytest.raises(Refusal, match=r"is missing or not whole; run jobs\.pretrain_stay first"):
        checkpoint.read_weights(folder, "pretrain_stay")
    model = checkpoint.dump_weights({"w": torch.ones(3)})
    publish(folder, STAMP, checkpoint.write_model(folder, model, "{}", []))
    assert torch.equal(checkpoint.read_weights(folder, "pretrain_stay")["w"], torch.ones(3))
    data = folder.read_bytes("model.safetensors")
    folder.write_bytes("model.safetensors", data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(Refusal, match=r"is damaged: model\.safetensors is missing or not what"):
        checkpoint.read_weights(folder, "pretrain_stay")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_seen_wherever_it_is(value):
    sound = made(Position(1))
    assert sound.is_finite
    weights = {**sound.weights, "b": torch.tensor([1.0, value])}
    assert not replace(sound, weights=weights).is_finite
    state = {0: {"step": torch.tensor(1.0), "exp_avg": torch.tensor([value])}}
    assert not replace(sound, optimizer={**sound.optimizer, "state": state}).is_finite
