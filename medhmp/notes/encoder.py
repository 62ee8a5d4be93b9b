"""A frozen encoder and its vectors of notes: masked mean over tokens, long notes in chunks.

A note's vector is the mean of the encoder's last hidden states over all its tokens, sum_t h_t / n;
padding never counts. A note longer than ``max_tokens`` is cut into chunks, each encoded by itself
and closed as the encoder knows a text: ``... </s>`` by T5, ``[CLS] ... [SEP]`` by BERT. The mean of
the chunks' means, weighted by their lengths, is that same mean.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor

from medhmp.arrays import Floats32
from medhmp.legend import NOTE_WIDTH, TextFamily
from medhmp.notes.pretrained import Family, Pretrained
from medhmp.refusal import Refusal
from medhmp.run import Notes

TOKENS_PER_PASS: Final = 256
"""Tokens of a forward pass on a CPU, whose cache would not hold the activations of more."""
BYTE_OFFSET: Final = 3
"""Id of the first byte: ids 0, 1, 2 are padding, end and unknown, as in ByT5."""


@dataclass(frozen=True)
class Encoder:
    """A frozen encoder and its tokenizer."""

    model: Any  # of transformers: ids (B, L), mask (B, L) -> hidden states (B, L, E)
    tokenize: Callable[[list[str]], list[list[int]]]  # without the tokens that close a chunk
    end: int  # id of the token that closes every chunk
    padding: int  # id that fills a batch
    window: int | None = None  # tokens per chunk, where fewer than notes.max_tokens
    begin: int | None = None  # id of the token that opens every chunk, if one does
    family: TextFamily = "t5"  # how its vectors are pooled once it is fine-tuned
    pooler: tuple[Tensor, Tensor] | None = None  # weights and bias of a BERT's, where it has one
    remark: str = ""  # what its user should know

    @property
    def width(self) -> int:
        """E, the width of a vector."""
        return int(self.model.config.hidden_size)

    def tokens_per_chunk(self, max_tokens: int) -> int:
        """Tokens of a chunk, as many as ``notes.max_tokens`` if the encoder takes that many.

        Refuses a number that leaves no room between the tokens that open and close a chunk.
        """
        least = 2 if self.begin is None else 3
        if max_tokens < least:
            raise Refusal(
                f"notes.max_tokens is {max_tokens} and {least - 1} of them open and close a chunk; "
                f"give {least} or more"
            )
        return min(max_tokens, self.window or max_tokens)


def check_encoder(model: str | None) -> str:
    """Fingerprints the encoder that ``notes.model`` names; refuses one that cannot be used.

    The driver calls it, so that a wrong folder starts no actor.
    """
    return "tiny" if model is None else Pretrained.at(model).fingerprint()


def width_of(model: str | None) -> int:
    """E of the encoder that ``notes.model`` names, as its config.json has it."""
    return NOTE_WIDTH if model is None else Pretrained.at(model).width


def load_encoder(model: str | None) -> Encoder:
    """Loads the encoder of a folder (local or ``s3://``) in Hugging Face layout; None: tiny."""
    if model is None:
        return tiny_encoder()
    pretrained = Pretrained.at(model)
    return _joined(*pretrained.load(), pretrained.family)


def tiny_encoder() -> Encoder:
    """Builds a byte-level T5, one narrow layer of fixed random weights, for runs without a model.

    Its vectors are little more than a histogram of bytes.
    """
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=256 + BYTE_OFFSET,
        d_model=NOTE_WIDTH,
        d_kv=16,
        d_ff=16,
        num_layers=1,
        num_heads=1,
        dropout_rate=0.0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = T5EncoderModel(config).eval()
    return Encoder(model, _bytes_of, end=1, padding=0, window=128)


def tiny_bert() -> Encoder:
    """Builds a byte-level BERT of one narrow layer and fixed random weights."""
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=256 + BYTE_OFFSET,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=128,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BertModel(config, add_pooling_layer=False)
    return Encoder(model, _bytes_of, end=1, padding=0, window=128, begin=2, family="bert")


def load_trainable(model: str | None, family: TextFamily) -> Encoder:
    """Loads an encoder to be fine-tuned, of the folder that ``notes.t5`` or ``notes.bert`` names.

    None: tiny, of random weights. Refuses as ``load_encoder``, and an encoder of another family.
    """
    if model is None:
        encoder = tiny_encoder() if family == "t5" else tiny_bert()
    else:
        with _named(family):
            encoder = load_encoder(model)
            if family == "bert":
                encoder = replace(encoder, pooler=Pretrained.at(model).pooler())
    if encoder.family != family:
        kind = encoder.model.config.model_type
        raise Refusal(
            f"notes.{family} '{model}' is a {kind!r} model; give the folder of a {family}"
        )
    if family == "t5":  # its stack alone: the model around it has the same table of words twice
        encoder = replace(encoder, model=encoder.model.encoder)
    encoder.model.requires_grad_(True)
    return encoder


def check_trainable(model: str | None, family: TextFamily) -> str:
    """Fingerprints the encoder that ``notes.t5`` or ``notes.bert`` names, as ``check_encoder``."""
    with _named(family):
        return check_encoder(model)


@contextmanager
def _named(family: TextFamily) -> Iterator[None]:
    """Names the field of the family in refusals about the folder of an encoder."""
    try:
        yield
    except Refusal as refusal:
        raise Refusal(str(refusal).replace("notes.model", f"notes.{family}")) from None


def chunk(
    ids: Sequence[int], max_tokens: int, end: int, begin: int | None = None
) -> list[list[int]]:
    """Cuts a note's token ids into chunks of at most ``max_tokens``, each closed by ``end``.

    Each is opened by ``begin``, if there is one. An empty note is one chunk of these alone.
    """
    opened = [] if begin is None else [begin]
    step = max_tokens - 1 - len(opened)
    return [[*opened, *ids[at : at + step], end] for at in range(0, max(len(ids), 1), step)]


@torch.inference_mode()
def embed(encoder: Encoder, texts: list[str], notes: Notes) -> Floats32:
    """Embeds N notes: vectors (N, E). Encodes longest chunks first, with others of their length."""
    device = encoder.model.device
    max_tokens = encoder.tokens_per_chunk(notes.max_tokens)
    owners: list[int] = []
    chunks: list[list[int]] = []
    for row, ids in enumerate(encoder.tokenize(texts)):
        pieces = chunk(ids, max_tokens, encoder.end, encoder.begin)
        owners += [row] * len(pieces)
        chunks += pieces
    total = torch.zeros(len(texts), encoder.width)
    tokens = torch.zeros(len(texts), 1)
    for picked in _batches(chunks, notes.batch_size, device.type == "cpu"):
        rows = torch.tensor([owners[i] for i in picked])
        batch, mask = _pad([chunks[i] for i in picked], encoder.padding)
        hidden = encoder.model(batch.to(device), attention_mask=mask.to(device)).last_hidden_state
        weight = mask.to(device, hidden.dtype)
        summed = torch.bmm(weight[:, None], hidden)[:, 0]  # (B, E): sum over the chunk's own tokens
        total.index_add_(0, rows, summed.float().cpu())
        tokens.index_add_(0, rows, mask.sum(dim=1, keepdim=True).float())
    result: Floats32 = (total / tokens).numpy()
    return result


def _joined(model: Any, tokenizer: Any, family: Family) -> Encoder:
    """The encoder of a model and a tokenizer. Refuses two that do not fit."""
    config, rows = model.config, model.get_input_embeddings().num_embeddings
    begin = tokenizer.cls_token_id if family.bracketed else None
    end = tokenizer.sep_token_id if family.bracketed else tokenizer.eos_token_id
    padding = tokenizer.pad_token_id if config.pad_token_id is None else config.pad_token_id
    if None in (end, padding) or (family.bracketed and begin is None):
        raise Refusal(
            "notes.model has a tokenizer without the tokens that open, close or fill a text; "
            "give the tokenizer of these weights"
        )
    if max(tokenizer.vocab_size - 1, end, padding, begin or 0) >= rows:
        raise Refusal(
            f"notes.model has a tokenizer of {tokenizer.vocab_size} tokens and weights of {rows}; "
            "give the tokenizer of these weights"
        )

    def tokenize(texts: list[str]) -> list[list[int]]:
        coded = tokenizer(texts, add_special_tokens=False, verbose=False)
        ids: list[list[int]] = coded["input_ids"]
        return ids

    window = None
    if family.bracketed:
        window = config.max_position_embeddings - (padding + 1 if family.padding_shifts else 0)
    kind: TextFamily = "bert" if family.bracketed else "t5"
    return Encoder(
        model, tokenize, end, padding, window, begin, family=kind, remark=_remark(tokenizer)
    )


def _remark(tokenizer: Any) -> str:
    """A remark where the tokenizer lowers case, yet its vocabulary has words in upper case.

    transformers lowers case where a folder of BERT lacks a tokenizer_config.json.
    """
    upper, lower = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("A", "a"))
    words = set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens)
    has_upper = any(word.isascii() and word.isalpha() and word.isupper() for word in words)
    if upper != lower or tokenizer.unk_token_id in lower or not has_upper:
        return ""
    return (
        "notes.model lowers case, and its vocabulary has words in upper case; if it is a cased "
        'encoder, write {"do_lower_case": false} into its tokenizer_config.json'
    )


def _bytes_of(texts: list[str]) -> list[list[int]]:
    return [[byte + BYTE_OFFSET for byte in text.encode()] for text in texts]


def _batches(chunks: list[list[int]], batch_size: int, on_cpu: bool) -> Iterator[list[int]]:
    """Yields the chunks (indices) of each forward pass: neighbors in length, for little padding."""
    order = sorted(range(len(chunks)), key=lambda i: len(chunks[i]), reverse=True)
    while order:
        size = batch_size
        if on_cpu:
            size = max(1, min(size, TOKENS_PER_PASS // len(chunks[order[0]])))
        yield order[:size]
        order = order[size:]


def _pad(chunks: list[list[int]], padding: int) -> tuple[Tensor, Tensor]:
    """Pads chunks to ids (B, L), with the mask (B, L) of the real ones; both int64."""
    lengths = torch.tensor([len(chunk) for chunk in chunks])
    width = int(lengths.max())
    ids = torch.tensor([chunk + [padding] * (width - len(chunk)) for chunk in chunks])
    return ids, (torch.arange(width) < lengths[:, None]).long()
