"""Weights as Flax writes them (``flax_model.msgpack``), under the names and shapes of PyTorch.

Clinical-T5 and Bio_ClinicalBERT are on the hub in this format, which transformers reads no more.
The format is that of ``flax.serialization``: nested msgpack maps, whose leaves are extension types
that hold shape, dtype and bytes. Neither Flax nor a pickle is needed to read it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgpack
import torch
from torch import Tensor, nn

from medhmp.refusal import Refusal

ARRAYS: Final = (1, 3)
"""Codes of the extension types of an array and of a scalar; 2, a complex number, is no weight."""
DTYPES: Final = {
    b"float16": torch.float16,
    b"bfloat16": torch.bfloat16,
    b"float32": torch.float32,
    b"float64": torch.float64,
    b"int32": torch.int32,
    b"int64": torch.int64,
}
CHUNKED: Final = "__msgpack_chunked_array__"
"""Marks a map that holds the pieces of one array, as msgpack ends at 2^32 bytes."""
WEIGHT: Final = ("kernel", "scale", "embedding")
"""Names of a layer's parameter in Flax that PyTorch calls ``weight``."""


def read_flax(data: bytes) -> dict[str, Tensor]:
    """Reads a file of parameters: PyTorch's name -> float32 tensor. Refuses any other content."""
    try:
        tree = msgpack.unpackb(data, ext_hook=_array)
        return {_name(path): _oriented(path, leaf) for path, leaf in _leaves(tree, ())}
    except (ValueError, TypeError, KeyError, RuntimeError) as error:  # msgpack's are ValueErrors
        raise Refusal(
            f"notes.model has Flax weights that cannot be read ({type(error).__name__}); "
            "the file is torn or not of flax.serialization, so download it again"
        ) from None


def fill(
    model: nn.Module, tensors: Mapping[str, Tensor], prefix: str, beside: Iterable[str]
) -> None:
    """Copies parameters into a model, every one of them once.

    Args:
        model: gets them.
        tensors: as ``read_flax`` gives them.
        prefix: of the encoder's names where the file has a head, too; other names are the head's.
        beside: parts of the file, by the first word of their names, that this model has not.

    Raises:
        Refusal: a parameter is missing, is one too many, or has another shape.
    """
    if any(name.startswith(f"{prefix}.") for name in tensors):
        tensors = {
            name.removeprefix(f"{prefix}."): tensor
            for name, tensor in tensors.items()
            if name.startswith(f"{prefix}.")
        }
    given = {n: tensor for n, tensor in tensors.items() if n.split(".")[0] not in beside}
    wanted = dict(model.named_parameters())
    known = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    known |= {name for name, _ in model.named_buffers()}  # of positions, which old files have
    for names, fault in (
        (wanted.keys() - given.keys(), "lack {} of the encoder's weights, {} first"),
        (given.keys() - known, "have {} that the encoder has not, {} first"),
        (_misshapen(given, wanted), "have {} of another shape than config.json gives, {} first"),
    ):
        if names:
            raise Refusal(
                f"notes.model: its Flax weights {fault.format(len(names), min(names))}; "
                "give weights and config.json of one model"
            )
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(given[name])


def _misshapen(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> set[str]:
    return {n for n in given.keys() & wanted.keys() if given[n].shape != wanted[n].shape}


def _array(code: int, data: bytes) -> Tensor:
    if code not in ARRAYS:
        raise ValueError(f"extension type {code}")
    shape, dtype, buffer = msgpack.unpackb(data, raw=True)
    return torch.frombuffer(bytearray(buffer), dtype=DTYPES[dtype]).reshape(shape)


def _leaves(tree: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Tensor]]:
    """Yields (path, array) of each array; pieces of one array are joined."""
    if isinstance(tree, Tensor) and path:
        yield path, tree
    elif not isinstance(tree, dict):
        raise TypeError(f"a {type(tree).__name__}")
    elif CHUNKED in tree:
        yield path, torch.cat(_in_order(tree["chunks"])).reshape(_in_order(tree["shape"]))
    else:
        for key, below in tree.items():
            yield from _leaves(below, (*path, key))


def _in_order(numbered: Mapping[str, Any]) -> list[Any]:
    """The values of a map whose keys number them, as Flax writes a tuple."""
    return [numbered[str(at)] for at in range(len(numbered))]


def _name(path: tuple[str, ...]) -> str:
    *layer, last = path
    return ".".join([*layer, "weight" if last in WEIGHT else last])


def _oriented(path: tuple[str, ...], array: Tensor) -> Tensor:
    """A kernel of Flax maps x to x W, one of PyTorch to W x."""
    return array.float().t() if path[-1] == "kernel" else array.float()
