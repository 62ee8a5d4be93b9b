"""Little encoders of fixed random weights, saved as they lie on the hub, and their Flax weights."""

import json
from pathlib import Path

import msgpack
import torch
from safetensors.torch import load_file

WORDS = ["pneumonia", "sepsis", "and", "the", "patient", "was", "started", "on", "vancomycin"]


def make_t5(path, width=768, seed=0):
    """A whole T5 of one small layer and a word-level tokenizer, in Hugging Face layout."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<pad>": 0, "</s>": 1, "<unk>": 2, **{w: i + 3 for i, w in enumerate(WORDS)}}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(path)
    return save_t5(path, len(vocabulary), width, seed)


def save_t5(path, vocabulary, width=768, seed=0, **more):
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(seed)
    sizes = {"d_model": width, "d_kv": 8, "d_ff": 16, "num_layers": 2, "num_heads": 2}
    T5ForConditionalGeneration(T5Config(vocab_size=vocabulary, **sizes, **more)).save_pretrained(
        path
    )
    return str(path)


def make_spiece_t5(path):
    """A T5 whose tokenizer is ``spiece.model`` alone, trained here."""
    import sentencepiece

    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    with (path / "spiece.model").open("wb") as model:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([" ".join(WORDS)] * 50 + WORDS * 9),
            model_writer=model,
            vocab_size=60,
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            hard_vocab_limit=False,
            minloglevel=2,
        )
    return save_t5(path, 160)


BERTS = {
    "bert": {"hidden_size": 48, "intermediate_size": 16, "num_hidden_layers": 2},
    "megatron-bert": {"hidden_size": 32, "intermediate_size": 16, "num_hidden_layers": 2},
    "distilbert": {"dim": 40, "hidden_dim": 16, "n_layers": 2, "n_heads": 2},
    "roberta": {"hidden_size": 64, "intermediate_size": 16, "num_hidden_layers": 2},
}
POSITIONS = 20


def make_bert(path, kind="bert", head=True, **more):
    """A BERT, with the head that predicts masked words or without, and its vocabulary."""
    from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM

    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    vocabulary = (_byte_pairs if kind == "roberta" else _word_pieces)(path)
    sizes = {**BERTS[kind], "max_position_embeddings": POSITIONS, "num_attention_heads": 2}
    if kind == "roberta":
        sizes |= {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    config = AutoConfig.for_model(kind, **{"vocab_size": vocabulary, **sizes, **more})
    torch.manual_seed(0)
    (AutoModelForMaskedLM if head else AutoModel).from_config(config).save_pretrained(path)
    return str(path)


def _word_pieces(path):
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##s", "a", "##b"]
    (path / "vocab.txt").write_text("\n".join(pieces) + "\n")
    return len(pieces)


def _byte_pairs(path):
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *"abcdefghijklmnopqrstuvwxyz", "Ġ", "Ġp"]
    tokens += ["se", "th"]
    (path / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    (path / "merges.txt").write_text("#version: 0.2\nĠ p\ns e\nt h\n")
    return len(tokens)


def flax_of(folder, dtype=torch.float32, chunk=None):
    """The weights of a folder's safetensors as ``flax.serialization.to_bytes`` writes them.

    A linear layer is a ``kernel`` (in, out), an embedding is an ``embedding``, a LayerNorm has a
    ``scale``; T5's own norm calls it ``weight``, as PyTorch does. With ``chunk``, arrays of more
    values are cut into pieces.
    """
    tree, is_t5 = {}, "T5" in _architecture(folder)
    for name, value in load_file(f"{folder}/model.safetensors").items():
        *layers, last = name.split(".")
        if last == "weight" and value.ndim == 2:
            is_table = "embed" in layers[-1] or layers[-1] in ("shared", "relative_attention_bias")
            last, value = ("embedding", value) if is_table else ("kernel", value.t())
        elif last == "weight" and not is_t5:
            last = "scale"
        at = tree
        for layer in layers:
            at = at.setdefault(layer, {})
        at[last] = _leaf(value.to(dtype).contiguous(), chunk)
    return msgpack.packb(tree, use_bin_type=True)


def _architecture(folder):
    return json.loads(Path(folder, "config.json").read_text())["architectures"][0]


def _leaf(value, chunk):
    if chunk is None or value.numel() <= chunk:
        return array_of(value)
    pieces = value.reshape(-1).split(chunk)
    return {
        "__msgpack_chunked_array__": True,
        "shape": {str(at): size for at, size in enumerate(value.shape)},
        "chunks": {str(at): array_of(piece) for at, piece in enumerate(pieces)},
    }


def array_of(value, code=1):
    """An array as an extension type of msgpack: shape, name of the type, bytes in C order."""
    name = str(value.dtype).removeprefix("torch.")
    data = value.reshape(-1).view(torch.uint8).numpy().tobytes()
    content = msgpack.packb((tuple(value.shape), name, data), use_bin_type=True)
    return msgpack.ExtType(code, content)


def to_flax(folder, **how):
    """Puts Flax weights in place of a folder's safetensors."""
    folder = Path(folder)
    data = flax_of(folder, **how)
    (folder / "model.safetensors").unlink()
    (folder / "flax_model.msgpack").write_bytes(data)
    return str(folder)
