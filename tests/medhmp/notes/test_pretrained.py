"""Folders of encoders: what loads, what is refused, and whether the refusal's advice works."""

import json
import re
import shlex
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from medhmp.notes.encoder import check_encoder, embed, load_encoder, load_trainable, width_of
from medhmp.refusal import Refusal
from medhmp.run import Notes
from medhmp.storage import Folder
from tests.medhmp.notes.folders import BERTS, make_bert, make_spiece_t5, make_t5, to_flax

TEXTS = ["the patient was started on vancomycin", "", "pneumonia and sepsis " * 9]


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    return make_t5(tmp_path_factory.mktemp("t5"))


def copy_of(folder, path):
    path.mkdir(exist_ok=True)
    for name in Folder(str(folder)).names():
        Folder(str(path)).write_bytes(name, Folder(str(folder)).read_bytes(name))
    return str(path)


def test_spiece_model_alone_gives_the_ids_of_sentencepiece(tmp_path):
    import sentencepiece

    folder = make_spiece_t5(tmp_path)
    pieces = sentencepiece.SentencePieceProcessor(model_file=f"{folder}/spiece.model")
    texts = [*TEXTS, "  two  blanks", "Sepsis, (of 3 days)\nand the patient", "sepsispneumonia ½"]
    assert check_encoder(folder)
    assert load_encoder(folder).tokenize(texts) == pieces.encode(texts)
    assert any(2 in ids for ids in pieces.encode(texts))  # an unknown token is one here and there


@pytest.mark.parametrize("module", ["sentencepiece", "google.protobuf"])
def test_a_missing_package_is_named(tmp_path, monkeypatch, module):
    folder = make_spiece_t5(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    package = module.replace("google.", "")
    with pytest.raises(Refusal, match=rf"spiece\.model .* package {package} .* pip install"):
        load_encoder(folder)


@pytest.mark.parametrize(
    ("make", "removed", "lacking"),
    [
        (make_spiece_t5, "spiece.model", r"no spiece\.model, nor a tokenizer\.json"),
        (make_bert, "vocab.txt", r"no vocab\.txt, nor a tokenizer\.json"),
        (lambda path: make_bert(path, "roberta"), "merges.txt", r"no merges\.txt, nor a tok"),
        (lambda path: make_bert(path, "roberta"), "vocab.json", r"no vocab\.json, nor a tok"),
    ],
)
def test_a_tokenizer_without_its_files_is_refused(tmp_path, make, removed, lacking):
    """transformers takes it, and every word of every note is unknown."""
    folder = make(tmp_path)
    (tmp_path / removed).unlink()
    with pytest.raises(Refusal, match=lacking):
        load_encoder(folder)


def test_a_tokenizer_of_other_weights_is_refused(tmp_path):
    folder = make_bert(tmp_path)
    with (tmp_path / "vocab.txt").open("a") as vocabulary:
        vocabulary.writelines(f"word{n}\n" for n in range(9))
    with pytest.raises(Refusal, match="a tokenizer of 26 tokens and weights of 17"):
        load_encoder(folder)


@pytest.mark.parametrize("make", [make_t5, make_bert])
def test_the_advice_about_pickled_weights_works(tmp_path, make):
    folder = make(tmp_path / "with a blank and 'quotes'")
    before = embed(load_encoder(folder), TEXTS, Notes())
    weights = load_file(f"{folder}/model.safetensors")
    torch.save(weights, f"{folder}/pytorch_model.bin")
    Folder(folder).delete("model.safetensors")
    with pytest.raises(
        Refusal, match="pickled weights alone, which are never read here"
    ) as refused:
        check_encoder(folder)
    python, option, code = shlex.split(re.search(r"with: (.*)$", str(refused.value))[1])
    assert (python, option) == ("python", "-c")
    exec(code, {})
    assert np.array_equal(embed(load_encoder(folder), TEXTS, Notes()), before)


def test_safetensors_win_over_flax_and_pickles(t5, tmp_path):
    folder = Folder(copy_of(t5, tmp_path))
    folder.write_bytes("flax_model.msgpack", b"not read")
    folder.write_bytes("pytorch_model.bin", b"never read")
    assert check_encoder(folder.uri) == check_encoder(t5)
    assert np.array_equal(*(embed(load_encoder(uri), TEXTS, Notes()) for uri in (t5, folder.uri)))


def test_weights_in_several_files_are_read_and_all_must_be_there(t5, tmp_path):
    folder, weights = copy_of(t5, tmp_path), load_file(f"{t5}/model.safetensors")
    Folder(folder).delete("model.safetensors")
    names = sorted(weights)
    parts = {"model-1.safetensors": names[:9], "model-2.safetensors": names[9:]}
    for file, held in parts.items():
        save_file({name: weights[name] for name in held}, tmp_path / file, {"format": "pt"})
    placed = {name: file for file, held in parts.items() for name in held}
    index = {"metadata": {}, "weight_map": placed}
    Folder(folder).write_json("model.safetensors.index.json", index)
    assert np.array_equal(*(embed(load_encoder(uri), TEXTS, Notes()) for uri in (t5, folder)))
    (tmp_path / "model-2.safetensors").unlink()
    with pytest.raises(Refusal, match=r"lacks 1 of the 2 files that its model\.safetensors\.index"):
        check_encoder(folder)
    Folder(folder).write_json("model.safetensors.index.json", [])
    with pytest.raises(Refusal, match="is no list of weights"):
        check_encoder(folder)


def test_what_is_no_encoder_is_refused(t5, tmp_path):
    with pytest.raises(Refusal, match=r"has no config\.json; give a folder"):
        check_encoder(str(tmp_path / "nowhere"))
    config, folder = json.loads(Folder(t5).read_bytes("config.json")), Folder(str(tmp_path))
    folder.write_json("config.json", config)
    with pytest.raises(Refusal, match=r"has no weights that can be read; give model\.safetensors"):
        check_encoder(folder.uri)
    for kind in ("gpt2", None, ["t5"]):
        folder.write_json("config.json", {**config, "model_type": kind})
        with pytest.raises(Refusal, match=r"model; give one of t5, bert, .*, roberta$"):
            check_encoder(folder.uri)
    for content in (b"", b"{", b"[]", b"\xff"):
        folder.write_bytes("config.json", content)
        with pytest.raises(Refusal, match=r"config\.json is not a JSON object"):
            check_encoder(folder.uri)


@pytest.mark.parametrize("width", ["768", 0, -1, True, None, 7.5])
def test_a_width_that_is_none_is_refused(t5, tmp_path, width):
    folder = Folder(copy_of(t5, tmp_path))
    folder.write_json("config.json", {**folder.read_json("config.json"), "d_model": width})
    with pytest.raises(Refusal, match=r"d_model in its config\.json is not a positive"):
        width_of(folder.uri)


@pytest.mark.parametrize("make", [make_t5, lambda path: make_bert(path, "distilbert")])
def test_a_width_under_its_common_name_is_read(tmp_path, make):
    folder = Folder(make(tmp_path))
    config = folder.read_json("config.json")
    config["hidden_size"] = config.pop("d_model", None) or config.pop("dim")
    folder.write_json("config.json", config)
    assert width_of(folder.uri) == load_encoder(folder.uri).width == config["hidden_size"]


@pytest.mark.parametrize("kind", ["t5", *BERTS])
def test_a_width_left_out_of_the_config_is_that_of_transformers(tmp_path, kind):
    from transformers import AutoConfig

    folder = Folder(str(tmp_path))
    folder.write_json("config.json", {"model_type": kind})
    folder.write_bytes("model.safetensors", b"")
    assert width_of(folder.uri) == AutoConfig.for_model(kind).hidden_size


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("model.safetensors", b"not safetensors", "weights"),
        ("tokenizer.json", b"{}", "tokenizer"),
        ("tokenizer.json", None, "tokenizer|no tokenizer"),
    ],
)
def test_a_damaged_folder_is_refused(t5, tmp_path, name, content, part):
    copy_of(t5, tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(Refusal, match=part) as refused:
        load_encoder(str(tmp_path))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("flax", [False, True])
def test_weights_of_other_sizes_than_the_config_are_refused(tmp_path, flax):
    folder = Folder(make_bert(tmp_path))
    if flax:
        to_flax(folder.uri)
    folder.write_json("config.json", {**folder.read_json("config.json"), "hidden_size": 64})
    with pytest.raises(Refusal, match="weights"):
        load_encoder(folder.uri)


def test_missing_weights_are_refused(t5, tmp_path):
    copy_of(t5, tmp_path)
    weights = load_file(f"{t5}/model.safetensors")
    del weights["encoder.block.1.layer.0.SelfAttention.q.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Refusal, match="lacks 1 of the encoder's weights"):
        load_encoder(str(tmp_path))


@pytest.mark.parametrize("as_flax", [False, True])
def test_a_bert_is_fine_tuned_with_its_own_pooler_where_it_has_one(tmp_path, as_flax):
    folder = make_bert(tmp_path / "bert", head=False)
    tensors = load_file(f"{folder}/model.safetensors")
    if as_flax:
        to_flax(folder)
    encoder = load_trainable(folder, "bert")
    for ours, name in zip(encoder.pooler, ("weight", "bias"), strict=True):
        assert torch.equal(ours, tensors[f"pooler.dense.{name}"])
    assert all(p.requires_grad for p in encoder.model.parameters())
    assert load_trainable(make_bert(tmp_path / "head"), "bert").pooler is None


def test_an_encoder_of_the_other_family_is_refused_naming_its_field(t5, tmp_path):
    with pytest.raises(Refusal, match=r"notes\.bert '.*' is a 't5' model; give the folder of"):
        load_trainable(t5, "bert")
    with pytest.raises(Refusal, match=r"notes\.t5 '.*' is a 'bert' model"):
        load_trainable(make_bert(tmp_path), "t5")
    with pytest.raises(Refusal, match=r"notes\.t5 '/nowhere' has no config\.json"):
        load_trainable("/nowhere", "t5")


def test_a_t5_is_fine_tuned_from_its_own_weights(t5):
    encoder = load_trainable(t5, "t5")
    whole = load_encoder(t5)
    ids = torch.tensor([[3, 4, 5, 1]])
    with torch.no_grad():
        expected = whole.model(ids).last_hidden_state
        assert torch.equal(encoder.model.eval()(ids).last_hidden_state, expected)
