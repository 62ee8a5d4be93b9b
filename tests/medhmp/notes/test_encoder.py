"""The note encoder against a slow version: one note, one chunk at a time, no padding."""

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
    width_of,
)
from medhmp.refusal import Refusal
from medhmp.run import Notes
from medhmp.storage import Folder
from tests.medhmp.notes.folders import BERTS, make_bert, make_spiece_t5, make_t5, to_flax

TEXTS = [
    "the patient was started on vancomycin",
    "sepsis",
    "",
    "pneumonia and sepsis and unheardof " * 9,  # 36 words: several chunks of 8
    "the patient was",
]


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    return make_t5(tmp_path_factory.mktemp("t5"))


def slow(encoder, text, max_tokens):
    """Mean of hidden states per chunk, then over chunks weighted by their lengths."""
    [ids] = encoder.tokenize([text])
    opened = [] if encoder.begin is None else [encoder.begin]
    step = max_tokens - 1 - len(opened)
    pieces = [[*opened, *ids[at : at + step], encoder.end] for at in range(0, len(ids), step)]
    means, lengths = [], []
    for piece in pieces or [[*opened, encoder.end]]:
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


@given(st.lists(st.integers(3, 99), max_size=60), st.integers(3, 17), st.sampled_from([None, 2]))
def test_chunks_hold_every_token_once_in_order(ids, max_tokens, begin):
    chunks = chunk(ids, max_tokens, end=1, begin=begin)
    first = 0 if begin is None else 1
    assert [i for piece in chunks for i in piece[first:-1]] == ids
    assert all(piece[:first] == [begin] * first and piece[-1] == 1 for piece in chunks)
    assert all(len(piece) == max_tokens for piece in chunks[:-1])
    assert len(chunks[-1]) <= max_tokens


@pytest.fixture(scope="module", params=BERTS)
def bert(request, tmp_path_factory):
    return make_bert(tmp_path_factory.mktemp(request.param), request.param)


@pytest.mark.parametrize("max_tokens", [3, 8, 512])
def test_a_bert_reads_chunks_that_it_has_positions_for(bert, max_tokens):
    """Also of a width other than 768; the id of RoBERTa's padding takes two positions of twenty."""
    encoder = load_encoder(bert)
    kind = encoder.model.config.model_type
    assert encoder.window == (18 if kind == "roberta" else 20)
    width = BERTS[kind].get("hidden_size") or BERTS[kind]["dim"]
    fast = embed(encoder, TEXTS, Notes(max_tokens=max_tokens, batch_size=3))
    assert fast.shape == (len(TEXTS), width)
    assert width_of(bert) == encoder.width == width
    expected = np.stack([slow(encoder, text, min(max_tokens, encoder.window)) for text in TEXTS])
    np.testing.assert_allclose(fast, expected, rtol=1e-4, atol=1e-5)


def test_a_bert_has_the_tokens_and_weights_of_its_folder(bert):
    """The checkpoint has a head, and names under the encoder's prefix."""
    from safetensors.torch import load_file

    encoder = load_encoder(bert)
    kind = encoder.model.config.model_type
    saved, prefix = load_file(f"{bert}/model.safetensors"), encoder.model.base_model_prefix
    for name, value in encoder.model.named_parameters():
        assert torch.equal(value, saved[f"{prefix}.{name}"]), name
    if kind == "roberta":
        assert encoder.tokenize(["these"]) == [[34, 9, 33]]  # th e se
    else:
        assert encoder.tokenize(["Sepsis and pneumonias"]) == [[6, 7, 5, 14]]


def test_a_chunk_needs_room_between_its_ends(tmp_path, t5):
    encoder = load_encoder(make_bert(tmp_path))
    with pytest.raises(Refusal, match=r"notes\.max_tokens is 2 and 2 of them .* give 3 or more"):
        embed(encoder, ["sepsis"], Notes(max_tokens=2))
    assert embed(load_encoder(t5), ["sepsis"], Notes(max_tokens=2)).shape == (1, 768)


@pytest.mark.parametrize("settings", [None, {"do_lower_case": False}])
def test_a_cased_vocabulary_whose_case_is_lost_is_remarked(tmp_path, settings):
    make_bert(tmp_path, vocab_size=18)
    with (tmp_path / "vocab.txt").open("a") as vocabulary:
        vocabulary.write("MRSA\n")
    if settings:
        Folder(str(tmp_path)).write_json("tokenizer_config.json", settings)
    encoder = load_encoder(str(tmp_path))
    assert ("lowers case" in encoder.remark) == (settings is None)
    assert encoder.tokenize(["MRSA"]) == ([[1]] if settings is None else [[17]])


def test_the_encoder_half_of_a_whole_t5_arrives(t5):
    from safetensors.torch import load_file

    saved = load_file(f"{t5}/model.safetensors")
    for name, value in load_encoder(t5).model.state_dict().items():
        source = "shared.weight" if name == "encoder.embed_tokens.weight" else name
        assert torch.equal(value, saved[source]), name


@pytest.mark.s3
def test_an_encoder_in_a_bucket_is_the_one_on_disk(tmp_path, s3):
    makers = {
        "t5": make_t5,
        "spiece": lambda path: to_flax(make_spiece_t5(path)),
        "bert": make_bert,
        "roberta": lambda path: to_flax(make_bert(path, "roberta")),
    }
    for kind, make in makers.items():
        here, there = make(tmp_path / kind), Folder(f"{s3}/{kind}")
        for name in Folder(here).names():
            there.write_bytes(name, Folder(here).read_bytes(name))
        assert check_encoder(there.uri) == check_encoder(here)
        assert width_of(there.uri) == width_of(here)
        both = (load_encoder(uri) for uri in (there.uri, here))
        vectors = [embed(encoder, TEXTS, Notes(max_tokens=8)) for encoder in both]
        assert np.array_equal(*vectors), kind


def test_the_fingerprint_follows_the_weights(t5, tmp_path):
    assert check_encoder(make_t5(tmp_path / "same")) == check_encoder(t5)
    assert check_encoder(make_t5(tmp_path / "other", seed=1)) != check_encoder(t5)
    assert check_encoder(None) == "tiny"


@pytest.mark.parametrize("width", [32, 768, 1024])
def test_the_width_is_the_encoders(tmp_path, width):
    folder = make_t5(tmp_path, width=width)
    assert width_of(folder) == load_encoder(folder).width == width
    assert embed(load_encoder(folder), TEXTS, Notes()).shape == (len(TEXTS), width)
    assert width_of(None) == tiny_encoder().width == 768
