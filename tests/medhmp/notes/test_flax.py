"""Flax weights, written as ``flax.serialization`` lays them out, against the same in PyTorch."""

import contextlib
import json

import msgpack
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medhmp.notes.encoder import check_encoder, embed, load_encoder
from medhmp.notes.flax import read_flax
from medhmp.refusal import Refusal
from medhmp.run import Notes
from tests.medhmp.notes.folders import (
    BERTS,
    array_of,
    flax_of,
    make_bert,
    make_spiece_t5,
    make_t5,
    save_t5,
    to_flax,
)

TEXTS = ["the patient was started on vancomycin", "", "pneumonia and sepsis " * 9]


def gated(path):
    """A T5 of version 1.1, whose feed-forward has two inputs, over the tokenizer of another."""
    make_t5(path)
    return save_t5(path, 12, feed_forward_proj="gated-gelu", tie_word_embeddings=False)


MAKERS = {
    "t5": make_t5,
    "spiece": make_spiece_t5,
    "gated": gated,
    "bare bert": lambda path: make_bert(path, head=False),
    **{kind: lambda path, kind=kind: make_bert(path, kind) for kind in BERTS},
}


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("chunk", [None, 100])
def test_flax_weights_give_the_vectors_of_the_same_in_safetensors(tmp_path, kind, chunk):
    folder = MAKERS[kind](tmp_path)
    before, print_before = embed(load_encoder(folder), TEXTS, Notes()), check_encoder(folder)
    to_flax(folder, chunk=chunk)
    assert check_encoder(folder) != print_before
    after = embed(load_encoder(folder), TEXTS, Notes())
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-5)
    assert not load_encoder(folder).model.training


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_are_widened_to_float32(tmp_path, dtype):
    folder = make_t5(tmp_path)
    exact = {n: x.to(dtype).float() for n, x in load_encoder(folder).model.state_dict().items()}
    to_flax(folder, dtype=dtype)
    for name, value in load_encoder(folder).model.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, exact[name]), name


def test_the_fingerprint_follows_flax_weights(tmp_path):
    prints = {check_encoder(to_flax(make_t5(tmp_path / str(n), seed=n // 2))) for n in range(4)}
    assert len(prints) == 2


def test_weights_in_several_flax_files_are_read(tmp_path):
    folder = make_t5(tmp_path)
    before = embed(load_encoder(folder), TEXTS, Notes())
    tree = msgpack.unpackb(flax_of(folder))
    (tmp_path / "model.safetensors").unlink()
    for n, top in enumerate(tree):
        data = msgpack.packb({top: tree[top]})
        (tmp_path / f"flax_model-0000{n}-of-0000{len(tree)}.msgpack").write_bytes(data)
    placed = {str(n): path.name for n, path in enumerate(sorted(tmp_path.glob("flax*")))}
    (tmp_path / "flax_model.msgpack.index.json").write_text(json.dumps({"weight_map": placed}))
    assert np.array_equal(embed(load_encoder(folder), TEXTS, Notes()), before)
    next(tmp_path.glob("flax_model-00001*")).unlink()
    with pytest.raises(Refusal, match=r"files that its flax_model\.msgpack\.index"):
        check_encoder(folder)


def rename(tree, old, new):
    tree[new] = tree.pop(old)


Q = ("encoder", "block", "1", "layer", "0", "SelfAttention")


def test_missing_extra_and_misshapen_weights_are_refused(tmp_path):
    folder = make_t5(tmp_path)
    whole = flax_of(folder)
    to_flax(folder)
    cases = (
        (
            lambda at: at.pop("q"),
            r"lack 1 of the encoder's weights, encoder\.block\.1\..*q\.weight f",
        ),
        (
            lambda at: at.update(extra=dict(at["q"])),
            r"have 1 that the encoder has not, .*extra\.we",
        ),
        (
            lambda at: at.update(q={"kernel": array_of(torch.ones(16, 768))}),
            "have 1 of another shape",
        ),
        (lambda at: rename(at["k"], "kernel", "bias"), r"lack 1 .*k\.weight"),
    )
    for change, message in cases:
        tree = msgpack.unpackb(whole)
        at = tree
        for name in Q:
            at = at[name]
        change(at)
        (tmp_path / "flax_model.msgpack").write_bytes(msgpack.packb(tree))
        with pytest.raises(Refusal, match=message):
            load_encoder(folder)


def test_a_table_of_positions_and_a_tied_embedding_are_no_extra_weights(tmp_path):
    """Files converted from old checkpoints of PyTorch hold them."""
    for make, place, name, value in (
        (make_bert, ("bert", "embeddings"), "position_ids", torch.arange(20)[None]),
        (make_t5, ("encoder",), "embed_tokens", {"embedding": array_of(torch.ones(12, 768))}),
    ):
        path = tmp_path / name
        folder = make(path)
        before = embed(load_encoder(folder), TEXTS, Notes())
        to_flax(folder)
        tree = msgpack.unpackb((path / "flax_model.msgpack").read_bytes())
        at = tree
        for part in place:
            at = at[part]
        at[name] = value if isinstance(value, dict) else array_of(value)
        (path / "flax_model.msgpack").write_bytes(msgpack.packb(tree))
        assert np.array_equal(embed(load_encoder(folder), TEXTS, Notes()), before)


ONES = array_of(torch.ones(2, 3))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not msgpack",
        b"\x80\x04\x95pickle",
        msgpack.packb([ONES]),
        msgpack.packb(ONES),
        msgpack.packb({"a": {"kernel": ONES}})[:-3],
        msgpack.packb({"a": {"kernel": ONES}}) + b"more",
        msgpack.packb({"a": {"kernel": 1.0}}),
        msgpack.packb({"a": msgpack.ExtType(2, msgpack.packb((1.0, 2.0)))}),
        msgpack.packb({"a": msgpack.ExtType(1, msgpack.packb(((9, 9), "float32", b"1234")))}),
        msgpack.packb({"a": msgpack.ExtType(1, msgpack.packb(((1,), "object", b"12345678")))}),
        msgpack.packb({"a": msgpack.ExtType(1, msgpack.packb("float32"))}),
        msgpack.packb({"a": {"__msgpack_chunked_array__": True, "chunks": {"1": ONES}}}),
        msgpack.packb({b"a": {b"kernel": ONES}}),
    ],
)
def test_what_are_no_flax_weights_is_refused(content):
    with pytest.raises(Refusal, match="Flax weights that cannot be read") as refused:
        read_flax(content)
    assert "\n" not in str(refused.value)


@given(st.binary(max_size=60))
def test_random_bytes_are_refused_or_an_empty_tree(data):
    with contextlib.suppress(Refusal):
        assert read_flax(data) == {}


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(1, 7))
def test_pieces_of_an_array_are_the_array(shape, chunk):
    value = torch.arange(float(np.prod(shape))).reshape(shape)
    pieces = value.reshape(-1).split(chunk)
    whole = {
        "__msgpack_chunked_array__": True,
        "shape": {str(at): size for at, size in enumerate(shape)},
        "chunks": {str(at): array_of(piece) for at, piece in enumerate(pieces)},
    }
    read = read_flax(msgpack.packb({"a": {"embedding": whole}, "b": {"scale": array_of(value)}}))
    assert torch.equal(read["a.weight"], value)
    assert torch.equal(read["b.weight"], value)


def test_a_scalar_is_an_array_without_axes():
    data = msgpack.packb({"a": {"bias": array_of(torch.tensor(2.5), code=3)}})
    assert read_flax(data)["a.bias"].item() == 2.5
