"""The note encoder against a slow version: one note, one chunk at a time, no padding."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medhmp.notes.encoder import (
    check_encoder,
    chunk,
    embed,
    load_encoder,
    tiny_encoder,
)
from medhmp.refusal import Refusal
from medhmp.run import Notes
from medhmp.storage import Folder

WORDS = ["pneumonia", "sepsis", "and", "the", "patient", "was", "started", "on", "vancomycin"]
TEXTS = [
    "the patient was started on vancomycin",
    "sepsis",
    "",
    "pneumonia and sepsis and unheardof " * 9,  # 36 words: several chunks of 8
    "the patient was",
]


def make_t5(path, width=768, seed=0):
    """A whole T5 of one small layer and a word-level tokenizer, in Hugging Face layout."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    vocabulary = {"<pad>": 0, "</s>": 1, "<unk>": 2, **{w: i + 3 for i, w in enumerate(WORDS)}}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(path)
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=len(vocabulary), d_model=width, d_kv=8, d_ff=16, num_layers=2, num_heads=2
    )
    T5ForConditionalGeneration(config).save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    return make_t5(tmp_path_factory.mktemp("t5"))


def slow(encoder, text, max_tokens):
    """Mean of hidden states per chunk, then over chunks weighted by their lengths."""
    [ids] = encoder.tokenize([text])
    step = max_tokens - 1
    pieces = [[*ids[at : at + step], encoder.end] for at in range(0, len(ids), step)]
    means, lengths = [], []
    for piece in pieces or [[encoder.end]]:
        with torch.no_grad():
            hidden = encoder.model(torch.tensor([piece])).last_hidden_state[0]
        means.append(hidden.double().mean(dim=0).numpy())
        lengths.append(len(piece))
    return np.average(means, axis=0, weights=lengths)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_pooling_and_chunking_equal_the_slow_version(t5, batch_size):
    encoder = load_encoder(t5)
    fast = embed(encoder, TEXTS, Notes(max_tokens=8, batch_size=batch_size))
    expected = np.stack([slow(encoder, text, 8) for text in TEXTS])
    assert fast.dtype == np.float32
    np.testing.assert_allclose(fast, expected, rtol=1e-4, atol=1e-5)


def test_the_tiny_encoder_equals_the_slow_version():
    encoder = tiny_encoder()
    fast = embed(encoder, TEXTS, Notes(max_tokens=32))
    expected = np.stack([slow(encoder, text, 32) for text in TEXTS])
    np.testing.assert_allclose(fast, expected, rtol=1e-4, atol=1e-5)


def test_the_tiny_encoder_is_the_same_everywhere_and_disturbs_no_seed():
    torch.manual_seed(7)
    first = tiny_encoder().model.state_dict()
    drawn = torch.rand(1)
    torch.manual_seed(7)
    assert torch.equal(drawn, torch.rand(1))
    second = tiny_encoder().model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_longer_neighbor_changes_nothing(t5):
    encoder, notes = load_encoder(t5), Notes(batch_size=2)
    alone = embed(encoder, ["sepsis and pneumonia"], notes)[0]
    padded = embed(encoder, ["sepsis and pneumonia", "the patient was " * 40], notes)[0]
    np.testing.assert_allclose(alone, padded, rtol=1e-4, atol=1e-5)


def test_words_matter(t5):
    vectors = embed(load_encoder(t5), ["sepsis", "pneumonia"], Notes())
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-2


@given(st.lists(st.integers(3, 99), max_size=60), st.integers(2, 17))
def test_chunks_hold_every_token_once_in_order(ids, max_tokens):
    chunks = chunk(ids, max_tokens, end=1)
    assert [i for piece in chunks for i in piece[:-1]] == ids
    assert all(piece[-1] == 1 and len(piece) <= max_tokens for piece in chunks)
    assert all(len(piece) == max_tokens for piece in chunks[:-1])


def test_the_encoder_half_of_a_whole_t5_arrives(t5):
    from safetensors.torch import load_file

    saved = load_file(f"{t5}/model.safetensors")
    for name, value in load_encoder(t5).model.state_dict().items():
        source = "shared.weight" if name == "encoder.embed_tokens.weight" else name
        assert torch.equal(value, saved[source]), name


@pytest.mark.s3
def test_an_encoder_in_a_bucket_is_the_one_on_disk(t5, s3):
    there = Folder(f"{s3}/t5")
    for name in Folder(t5).names():
        there.write_bytes(name, Folder(t5).read_bytes(name))
    assert check_encoder(there.uri) == check_encoder(t5)
    vectors = [embed(load_encoder(uri), TEXTS, Notes(max_tokens=8)) for uri in (there.uri, t5)]
    assert np.array_equal(*vectors)


def test_the_fingerprint_follows_the_weights(t5, tmp_path):
    assert check_encoder(make_t5(tmp_path / "same")) == check_encoder(t5)
    assert check_encoder(make_t5(tmp_path / "other", seed=1)) != check_encoder(t5)
    assert check_encoder(None) == "tiny"


def test_another_width_is_refused(tmp_path):
    with pytest.raises(Refusal, match="is 64 wide, the model reads 768"):
        check_encoder(make_t5(tmp_path, width=64))


def test_what_is_no_encoder_is_refused(t5, tmp_path):
    with pytest.raises(Refusal, match=r"has no config\.json; give a folder"):
        check_encoder(str(tmp_path / "nowhere"))
    config = json.loads(Folder(t5).read_bytes("config.json"))
    folder = Folder(str(tmp_path))
    folder.write_json("config.json", config)
    folder.write_bytes("pytorch_model.bin", b"never read")
    with pytest.raises(Refusal, match=r"no \.safetensors weights"):
        check_encoder(folder.uri)
    folder.write_json("config.json", {**config, "model_type": "bert"})
    with pytest.raises(Refusal, match="is a 'bert' model"):
        check_encoder(folder.uri)


def copy_of(t5, path):
    for name in Folder(t5).names():
        Folder(str(path)).write_bytes(name, Folder(t5).read_bytes(name))
    return str(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", b"not safetensors"),
        ("tokenizer.json", b"{}"),
        ("tokenizer.json", None),
    ],
)
def test_a_damaged_folder_is_refused(t5, tmp_path, name, content):
    copy_of(t5, tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(Refusal, match=r"notes\.model cannot be loaded"):
        load_encoder(str(tmp_path))


def test_missing_weights_are_refused(t5, tmp_path):
    from safetensors.torch import load_file, save_file

    copy_of(t5, tmp_path)
    weights = load_file(f"{t5}/model.safetensors")
    del weights["encoder.block.1.layer.0.SelfAttention.q.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Refusal, match="lacks 1 of the encoder's weights"):
        load_encoder(str(tmp_path))
