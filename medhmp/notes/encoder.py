"""A frozen T5 encoder and its vectors of notes: masked mean over tokens, long notes in chunks.

A note's vector is the mean of the encoder's last hidden states over all its tokens, sum_t h_t / n;
padding never counts. A note longer than ``max_tokens`` is cut into chunks, each encoded by itself.
The mean of the chunks' means, weighted by their lengths, is that same mean.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from medhmp.arrays import Floats32
from medhmp.legend import NOTE_WIDTH
from medhmp.refusal import Refusal
from medhmp.run import Notes, digest
from medhmp.storage import Folder

MODEL_FILES: Final = (".json", ".txt", ".model", ".safetensors")
"""Endings of the files of a model that are read; a pickle never is."""
TOKENS_PER_PASS: Final = 256
"""Tokens of a forward pass on a CPU, whose cache would not hold the activations of more."""
BYTE_OFFSET: Final = 3
"""Id of the first byte: ids 0, 1, 2 are padding, end and unknown, as in ByT5."""


@dataclass(frozen=True)
class Encoder:
    """A frozen encoder and its tokenizer."""

    model: Any  # transformers.T5EncoderModel: ids (B, L), mask (B, L) -> hidden states (B, L, E)
    tokenize: Callable[[list[str]], list[list[int]]]  # without the end token
    end: int  # id of the token that closes every chunk
    padding: int  # id that fills a batch
    window: int | None = None  # tokens per chunk, where fewer than notes.max_tokens


def check_encoder(model: str | None) -> str:
    """Fingerprints the encoder that ``notes.model`` names; refuses one that cannot be used.

    The driver calls it, so that a wrong folder starts no actor.
    """
    if model is None:
        return "tiny"
    folder = Folder(model)
    names = _model_files(folder)
    if "config.json" not in names:
        raise Refusal(
            f"notes.model '{model}' has no config.json; give a folder in Hugging Face layout"
        )
    config = folder.read_json("config.json")
    if config.get("model_type") != "t5":
        raise Refusal(
            f"notes.model '{model}' is a {config.get('model_type')!r} model; give a T5 model"
        )
    if config.get("d_model") != NOTE_WIDTH:
        raise Refusal(
            f"notes.model '{model}' is {config.get('d_model')} wide, the model reads {NOTE_WIDTH}; "
            "give an encoder of the width of T5-Base"
        )
    if not any(name.endswith(".safetensors") for name in names):
        raise Refusal(
            f"notes.model '{model}' has no .safetensors weights, and pickled ones are never read; "
            "convert it once with from_pretrained and save_pretrained of transformers"
        )
    return digest([[name, _sha256(folder, name)] for name in names])


def load_encoder(model: str | None) -> Encoder:
    """Loads the encoder of a folder (local or ``s3://``) in Hugging Face layout; None: tiny."""
    if model is None:
        return tiny_encoder()
    folder = Folder(model)
    if folder.is_local:
        return _read_encoder(folder.resolve()[1])
    with tempfile.TemporaryDirectory() as copy:  # transformers reads local folders only
        for name in _model_files(folder):
            with folder.open(name) as source, Folder(copy).create(name) as sink:
                while block := source.read(1 << 24):
                    sink.write(block)
        return _read_encoder(copy)


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


def chunk(ids: Sequence[int], max_tokens: int, end: int) -> list[list[int]]:
    """Cuts a note's token ids into chunks of at most ``max_tokens``, each closed by ``end``.

    An empty note is one chunk that holds only ``end``.
    """
    step = max_tokens - 1
    return [[*ids[at : at + step], end] for at in range(0, max(len(ids), 1), step)]


@torch.inference_mode()
def embed(encoder: Encoder, texts: list[str], notes: Notes) -> Floats32:
    """Embeds N notes: vectors (N, E). Encodes longest chunks first, with others of their length."""
    device = encoder.model.device
    max_tokens = min(notes.max_tokens, encoder.window or notes.max_tokens)
    owners: list[int] = []
    chunks: list[list[int]] = []
    for row, ids in enumerate(encoder.tokenize(texts)):
        pieces = chunk(ids, max_tokens, encoder.end)
        owners += [row] * len(pieces)
        chunks += pieces
    total = torch.zeros(len(texts), NOTE_WIDTH)
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


def _read_encoder(path: str) -> Encoder:
    from transformers import AutoTokenizer, T5EncoderModel
    from transformers.utils import logging

    logging.set_verbosity_error()  # a whole T5 has a decoder, which is not loaded on purpose
    logging.disable_progress_bar()
    try:
        model, loaded = T5EncoderModel.from_pretrained(
            path,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(
            path, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # transformers, tokenizers and safetensors each raise their own
        raise Refusal(
            f"notes.model cannot be loaded ({type(error).__name__}); give a folder with weights "
            "and tokenizer of a T5, as save_pretrained of transformers writes them"
        ) from None
    if loaded["missing_keys"]:
        raise Refusal(
            f"notes.model lacks {len(loaded['missing_keys'])} of the encoder's weights; "
            "give a folder that holds a whole T5 encoder"
        )

    def tokenize(texts: list[str]) -> list[list[int]]:
        coded = tokenizer(texts, add_special_tokens=False, verbose=False)
        ids: list[list[int]] = coded["input_ids"]
        return ids

    return Encoder(model.eval(), tokenize, tokenizer.eos_token_id, tokenizer.pad_token_id)


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


def _model_files(folder: Folder) -> list[str]:
    return [name for name in folder.names() if name.endswith(MODEL_FILES) and "/" not in name]


def _sha256(folder: Folder, name: str) -> str:
    sha = hashlib.sha256()
    with folder.open(name) as source:
        while block := source.read(1 << 24):
            sha.update(block)
    return sha.hexdigest()
