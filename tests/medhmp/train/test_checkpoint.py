"""Checkpoints are whole or not there, and never trusted blindly."""

import pytest
import torch

from medhmp.recipes import smoke
from medhmp.refusal import Refusal
from medhmp.storage import Folder, Stamp, publish
from medhmp.train import checkpoint

STAMP = Stamp({"a": 1}, {})


@pytest.fixture
def folder(tmp_path):
    return Folder(str(tmp_path / "pretrain"))


def save(folder, epoch, keep=2, stamp=STAMP):
    weights = {"w": torch.full((3,), float(epoch))}
    state = {
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1.0}]}
    }
    rows = [{"epoch": e, "loss": 1.0} for e in range(epoch + 1)]
    checkpoint.save(
        folder, checkpoint.Checkpoint(epoch, weights, state, rows), smoke(), stamp, keep
    )


def test_the_newest_is_read_back_whole_and_older_ones_go(folder):
    for epoch in range(4):
        save(folder, epoch)
    found = checkpoint.newest(folder, STAMP)
    assert found.epoch == 3
    assert torch.equal(found.weights["w"], torch.full((3,), 3.0))
    assert found.state["optimizer"]["param_groups"] == [{"lr": 1.0}]
    assert [row["epoch"] for row in found.metrics] == [0, 1, 2, 3]
    kept = {name.split("/")[0] for name in (folder / "checkpoints").names()}
    assert kept == {"epoch-00002", "epoch-00003"}


@pytest.mark.parametrize("name", ["model.safetensors", "state.pt", "metrics.jsonl"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
def test_a_damaged_newest_falls_back_to_the_one_before(folder, name, damage):
    save(folder, 0)
    save(folder, 1)
    place = folder / "checkpoints" / "epoch-00001"
    data = place.read_bytes(name)
    if damage == "flip":
        place.write_bytes(name, data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "truncate":
        place.write_bytes(name, data[:-3])
    else:
        place.delete(name)
    assert checkpoint.newest(folder, STAMP).epoch == 0


def test_one_without_its_record_is_not_there(folder):
    save(folder, 0)
    save(folder, 1)
    (folder / "checkpoints" / "epoch-00001").delete("complete.json")
    assert checkpoint.newest(folder, STAMP).epoch == 0


def test_one_with_a_torn_record_is_not_there(folder):
    save(folder, 0)
    save(folder, 1)
    place = folder / "checkpoints" / "epoch-00001"
    place.write_bytes("complete.json", place.read_bytes("complete.json")[:-9])
    assert checkpoint.newest(folder, STAMP).epoch == 0


def test_another_runs_checkpoint_is_refused_or_overwritten(folder):
    save(folder, 0)
    other = Stamp({"a": 2}, {})
    with pytest.raises(Refusal, match="another run"):
        checkpoint.newest(folder, other)
    assert checkpoint.newest(folder, other, overwrite=True) is None
    assert not (folder / "checkpoints").names()


def test_damaged_or_missing_weights_are_refused(folder):
    """Also a single flipped bit, which safetensors itself takes for another weight."""
    with pytest.raises(Refusal, match=r"is missing or not whole; run jobs\.pretrain_stay first"):
        checkpoint.read_weights(folder, "pretrain_stay")
    entries = checkpoint.write_model(folder, {"w": torch.ones(3)}, smoke(), [])
    publish(folder, STAMP, entries)
    assert torch.equal(checkpoint.read_weights(folder, "pretrain_stay")["w"], torch.ones(3))
    data = folder.read_bytes("model.safetensors")
    folder.write_bytes("model.safetensors", data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(Refusal, match=r"is damaged: model\.safetensors is missing or not what"):
        checkpoint.read_weights(folder, "pretrain_stay")
