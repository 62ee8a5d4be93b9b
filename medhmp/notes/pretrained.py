"""A folder in Hugging Face layout with a pretrained encoder: what it must hold, and its loading.

Weights are read from safetensors or, where there are none, from Flax; a pickle never is.
"""

import hashlib
import importlib.util
import shlex
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import torch
from safetensors.torch import load as load_tensors

from medhmp.notes.flax import fill, read_flax
from medhmp.refusal import Refusal
from medhmp.run import digest
from medhmp.storage import Folder

SAFETENSORS: Final = "model.safetensors"
FLAX: Final = "flax_model"
"""Beginning of the names of Flax weights, which are ``.msgpack``."""
INDEX: Final = ".index.json"
"""End of the name of the list of the files that weights are cut into."""
POOLER: Final = "pooler.dense."
"""Part of the names of a BERT's pooler."""
READ: Final = (".json", ".txt", ".model", ".safetensors")
"""Endings of the files that are read; those of Flax only where no safetensors are."""


@dataclass(frozen=True)
class Family:
    """What tells one kind of encoder from another."""

    model: str  # class of transformers
    width: str  # field of config.json that has E
    default_width: int  # E where config.json leaves it out, which its writer may
    beside: tuple[str, ...]  # parts of a checkpoint that no note passes
    vocabulary: tuple[str, ...]  # files of its tokenizer, where there is no tokenizer.json
    has_pooler: bool = False  # unless it is built without
    bracketed: bool = True  # a chunk is [CLS] ... [SEP]; else ... </s>
    padding_shifts: bool = False  # positions begin behind the id of padding


FAMILIES: Final[dict[str, Family]] = {
    "t5": Family(
        "T5EncoderModel", "d_model", 512, ("decoder", "lm_head"), ("spiece.model",), bracketed=False
    ),
    "bert": Family("BertModel", "hidden_size", 768, ("pooler",), ("vocab.txt",), has_pooler=True),
    "megatron-bert": Family(
        "MegatronBertModel", "hidden_size", 1024, ("pooler",), ("vocab.txt",), has_pooler=True
    ),
    "distilbert": Family("DistilBertModel", "dim", 768, (), ("vocab.txt",)),
    "roberta": Family(
        "RobertaModel",
        "hidden_size",
        768,
        ("pooler",),
        ("vocab.json", "merges.txt"),
        has_pooler=True,
        padding_shifts=True,
    ),
}
"""``model_type`` of config.json -> its family."""


@dataclass(frozen=True)
class Pretrained:
    """A folder whose files have been seen to make an encoder, not yet loaded."""

    folder: Folder
    config: Mapping[str, Any]
    names: tuple[str, ...]  # of the files that are read
    family: Family

    @staticmethod
    def at(uri: str) -> "Pretrained":
        """Looks at a folder. Refuses one without an encoder that can be loaded, and says why."""
        folder = Folder(uri)
        names = [name for name in folder.names() if "/" not in name]
        if "config.json" not in names:
            raise Refusal(
                f"notes.model '{uri}' has no config.json; give a folder in Hugging Face layout"
            )
        config = _read_config(folder)
        family = FAMILIES.get(str(config.get("model_type")))
        if family is None:
            raise Refusal(
                f"notes.model '{uri}' is a {config.get('model_type')!r} model; "
                f"give one of {', '.join(FAMILIES)}"
            )
        _check_weights(folder, names, family)
        read = [name for name in names if name.endswith(READ)]
        if not _has_safetensors(names):
            read = sorted([*read, *_flax_files(names)])
        return Pretrained(folder, config, tuple(read), family)

    @cached_property
    def width(self) -> int:
        """E. Refuses a config.json whose width is no number."""
        usual = self.config.get("hidden_size", self.family.default_width)  # a name all know
        width = self.config.get(self.family.width, usual)
        if type(width) is not int or width < 1:
            raise Refusal(
                f"notes.model '{self.folder}': {self.family.width} in its config.json is not a "
                "positive whole number; give the config.json of these weights"
            )
        return width

    def fingerprint(self) -> str:
        """Digest of the files that are read."""
        return digest([[name, _sha256(self.folder, name)] for name in self.names])

    def load(self) -> tuple[Any, Any]:
        """Loads the model, in float32, and the tokenizer."""
        from transformers.utils import logging

        logging.set_verbosity_error()  # heads and a T5's decoder are not loaded on purpose
        logging.disable_progress_bar()
        with self._local() as path:
            return self._model(path).eval(), self._tokenizer(path)

    def pooler(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Weights (E, E) and bias (E) of a BERT's pooler; None where the folder has none."""
        found: dict[str, torch.Tensor] = {}
        for name in self.names:
            if name.endswith(".safetensors"):
                tensors = load_tensors(self.folder.read_bytes(name))
            elif name.endswith(".msgpack"):
                tensors = read_flax(self.folder.read_bytes(name))
            else:
                continue
            found |= {n.rpartition(POOLER)[2]: x for n, x in tensors.items() if POOLER in n}
        if found.keys() != {"weight", "bias"}:
            return None
        return found["weight"].float(), found["bias"].float()

    @contextmanager
    def _local(self) -> Iterator[str]:
        """The path of the folder, or of a copy, as transformers reads local folders only."""
        if self.folder.is_local:
            yield self.folder.path()
            return
        with tempfile.TemporaryDirectory() as copy:
            for name in self.names:
                with self.folder.open(name) as source, Folder(copy).create(name) as sink:
                    while block := source.read(1 << 24):
                        sink.write(block)
            yield copy

    def _model(self, path: str) -> Any:
        import transformers

        kind = getattr(transformers, self.family.model)
        options = {"add_pooling_layer": False} if self.family.has_pooler else {}
        if not _has_safetensors(self.names):
            return self._from_flax(kind, path, options)
        try:
            model, loaded = kind.from_pretrained(
                path,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                **options,
            )
        except Exception as error:  # transformers and safetensors each raise their own
            raise self._unloadable("weights", error) from None
        if missing := loaded["missing_keys"]:
            raise Refusal(
                f"notes.model lacks {len(missing)} of the encoder's weights, {min(missing)} first; "
                f"give a folder that holds a whole {self.config['model_type']} encoder"
            )
        return model

    def _from_flax(self, kind: Any, path: str, options: Mapping[str, bool]) -> Any:
        try:
            config = kind.config_class.from_pretrained(path, local_files_only=True)
            with torch.random.fork_rng(devices=[]):
                model = kind(config, **options)
        except Exception as error:  # whatever a config.json of wrong sizes leads to
            raise self._unloadable("config.json", error) from None
        tensors: dict[str, torch.Tensor] = {}
        for name in _flax_files(self.names):
            tensors |= read_flax(Folder(path).read_bytes(name))
        fill(model, tensors, kind.base_model_prefix, self.family.beside)
        return model

    def _tokenizer(self, path: str) -> Any:
        from transformers import AutoTokenizer

        self._check_packages()
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                path, local_files_only=True, trust_remote_code=False
            )
            tokenizer("\u2603 unheard-of", add_special_tokens=False)  # a word that none knows
        except Exception as error:  # transformers and tokenizers each raise their own
            self._check_vocabulary(self.family.vocabulary)
            raise self._unloadable("tokenizer", error) from None
        files = tokenizer.vocab_files_names  # of its class, which may not be the family's own
        self._check_vocabulary(
            files[kind] for kind in ("vocab_file", "merges_file") if kind in files
        )
        return tokenizer

    def _check_vocabulary(self, files: Iterable[str]) -> None:
        """Refuses a tokenizer without its files: transformers may make one all the same, to which
        every word is unknown."""
        missing = sorted(set(files) - set(self.names))
        if missing and "tokenizer.json" not in self.names:
            raise Refusal(
                f"notes.model '{self.folder}' has no {' and no '.join(missing)}, nor a "
                "tokenizer.json; give the files of its tokenizer, too"
            )

    def _check_packages(self) -> None:
        """Refuses a tokenizer of sentencepiece where a package that reads it is missing."""
        pieces = [name for name in self.names if name.endswith(".model")]
        if "tokenizer.json" in self.names or not pieces:
            return
        for package, module in (
            ("sentencepiece", "sentencepiece"),
            ("protobuf", "google.protobuf"),
        ):
            if not _is_installed(module):
                raise Refusal(
                    f"notes.model '{self.folder}' has {pieces[0]} and no tokenizer.json, and the "
                    f"package {package} is missing, which reads it; pip install {package}"
                )

    def _unloadable(self, part: str, error: Exception) -> Refusal:
        """The refusal of a part that raised an error, whose message is not repeated."""
        cause = type(error).__name__
        if isinstance(error, ImportError) and error.name:
            cause = f"the package {error.name} is missing"
        return Refusal(
            f"notes.model '{self.folder}': its {part} cannot be loaded ({cause}); give a folder "
            f"with weights and tokenizer of a {self.config['model_type']}, as save_pretrained of "
            "transformers writes them"
        )


def _read_config(folder: Folder) -> Mapping[str, Any]:
    try:
        config = folder.read_json("config.json")
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise Refusal(f"notes.model '{folder}': its config.json is not a JSON object")
    return config


def _check_weights(folder: Folder, names: list[str], family: Family) -> None:
    """Refuses a folder without weights that are read, or without some of their files."""
    for weights in (SAFETENSORS, f"{FLAX}.msgpack"):
        if weights in names:
            return
        if f"{weights}{INDEX}" in names:
            return _check_index(folder, f"{weights}{INDEX}", names)
    if any(name.startswith("pytorch_model") for name in names):
        place = folder.path() if folder.is_local else "COPY"
        code = (
            f"from transformers import {family.model} as M; "
            f"M.from_pretrained({place!r}).save_pretrained({place!r})"
        )
        where = "" if folder.is_local else "in a local copy "
        raise Refusal(
            f"notes.model '{folder}' has pickled weights alone, which are never read here; "
            f"if you trust them, convert them once {where}with: python -c {shlex.quote(code)}"
        )
    raise Refusal(
        f"notes.model '{folder}' has no weights that can be read; "
        f"give {SAFETENSORS} or {FLAX}.msgpack"
    )


def _check_index(folder: Folder, index: str, names: list[str]) -> None:
    try:
        files = set(folder.read_json(index)["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Refusal(f"notes.model '{folder}': its {index} is no list of weights") from None
    if missing := files - set(names):
        raise Refusal(
            f"notes.model '{folder}' lacks {len(missing)} of the {len(files)} files that its "
            f"{index} names; download them all"
        )


def _has_safetensors(names: list[str] | tuple[str, ...]) -> bool:
    return SAFETENSORS in names or f"{SAFETENSORS}{INDEX}" in names


def _flax_files(names: list[str] | tuple[str, ...]) -> list[str]:
    return [name for name in names if name.startswith(FLAX) and name.endswith(".msgpack")]


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False


def _sha256(folder: Folder, name: str) -> str:
    sha = hashlib.sha256()
    with folder.open(name) as source:
        while block := source.read(1 << 24):
            sha.update(block)
    return sha.hexdigest()
