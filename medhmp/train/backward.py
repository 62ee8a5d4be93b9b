"""One step's loss and gradients, of the batch whole or in chunks that fit the memory.

The contrast sees the whole batch either way, by gradient caching (Gao et al. 2021). First all
chunks are encoded without a graph, and the loss gives its gradient with respect to the encodings.
Then each chunk is encoded again, with its graph, and its rows of that gradient are backpropagated.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from medhmp.batch import (
    CODES,
    DEMOGRAPHICS,
    HOURS,
    NUMBERS,
    PER_ROW,
    STATISTICS,
    STAY_SLOT,
    SUBJECT_ID,
    CsrKeys,
)
from medhmp.model.admission import count_coded, draw_salts
from medhmp.shards.rows import Batch
from medhmp.train.device import to_device
from medhmp.train.objective import AdmissionPretraining, LossTerms, Pairs, Whole


def backward(
    objective: nn.Module,
    batch: Batch,
    device: torch.device | None = None,
    chunk: int | None = None,
    bf16: bool = False,
) -> LossTerms:
    """Adds the gradient of a batch's loss to that of the parameters. Nothing waits for the device.

    Args:
        objective: the objective, bare or wrapped by DistributedDataParallel.
        batch: on the host, where it is cut into chunks.
        device: where the objective is; none: the CPU.
        chunk: rows that pass the encoder at once; none: all.
        bf16: autocast on a GPU; operations that must be exact stay in float32.

    Returns:
        The loss of the whole batch and the scalars to report, without a graph.
    """
    bare = objective.module if isinstance(objective, DistributedDataParallel) else objective
    stage_two = bare if isinstance(bare, AdmissionPretraining) else None
    autocast, rows = _autocast(device, bf16), batch[SUBJECT_ID].numel()
    if chunk is None or rows <= chunk:
        with autocast:
            loss, report = objective(to_device(batch, device))
        loss.backward()
        return loss.detach(), report
    max_stays = stage_two.admission.max_stays if stage_two else 1
    chunks = [to_device(part, device) for part in cut_batch(batch, chunk, max_stays)]
    if stage_two:
        coded = {keys.offsets: batch[keys.offsets] for keys in CODES}
        return _cached(objective, stage_two, chunks, to_device(coded, device), device, autocast)
    return _accumulated(objective, chunks, autocast)


def _accumulated(objective: nn.Module, chunks: list[Batch], autocast: torch.autocast) -> LossTerms:
    """Chunked backward pass of a loss that is a mean over rows."""
    rows = [part[SUBJECT_ID].numel() for part in chunks]
    total: dict[str, Tensor] = {}
    for part, share, syncing in zip(chunks, rows, _last(objective, len(chunks)), strict=True):
        with syncing:
            with autocast:
                loss, report = objective(part)
            weight = share / sum(rows)
            (weight * loss).backward()
        for name, term in report.items():
            total[name] = total.get(name, 0) + weight * term
    return total["loss"], total


def _cached(
    objective: nn.Module,
    bare: AdmissionPretraining,
    chunks: list[Batch],
    offsets: Batch,
    device: torch.device | None,
    autocast: torch.autocast,
) -> LossTerms:
    """Chunked backward pass of stage two, by gradient caching.

    ``offsets`` are those of the codes of the whole batch.
    """
    salts, coded = draw_salts(bare.masks), count_coded(offsets)
    states, encoded = [], []
    with torch.no_grad(), autocast:
        for part in chunks:
            states.append(_random_state(device))
            encoded.append(bare.pairs(*bare.admission.tokens(part), part[SUBJECT_ID]))
    pairs = Pairs(*(torch.cat(of) for of in zip(*(vars(p).values() for p in encoded), strict=True)))
    compared = (pairs.queries.requires_grad_(), pairs.keys.requires_grad_())
    contrast = bare.contrast(pairs)
    gradients = torch.autograd.grad(contrast, compared)
    sizes = [part[SUBJECT_ID].numel() for part in chunks]
    onto = zip(*(torch.split(gradient, sizes) for gradient in gradients), strict=True)
    codes = torch.zeros_like(contrast)
    for part, state, by_pairs, syncing in zip(
        chunks, states, onto, _last(objective, len(chunks)), strict=True
    ):
        _set_random_state(state, device)  # dropout draws the same again
        with syncing:
            with autocast:
                loss, report = objective(part, Whole(salts, coded, *by_pairs))
            loss.backward()
        codes += report["masked_codes"]
    return bare.total(codes, contrast.detach())


def cut_batch(batch: Batch, size: int, max_stays: int) -> list[Batch]:
    """Cuts a batch into chunks of ``size`` rows, in order; the last has the rest.

    Args:
        batch: stays or admissions, on the host.
        size: rows of a chunk.
        max_stays: slots of an admission in ``stay_slot``.
    """
    rows = batch[SUBJECT_ID].numel()
    starts = range(0, rows, size)
    return [_rows(batch, at, min(at + size, rows), max_stays) for at in starts]


def _rows(batch: Batch, start: int, stop: int, max_stays: int) -> Batch:
    taken = {name: batch[name][start:stop] for name in PER_ROW if name in batch}
    stays = start, stop
    if STAY_SLOT in batch:
        slots = batch[STAY_SLOT]
        bounds = torch.tensor([start, stop]) * max_stays
        first, last = torch.searchsorted(slots, bounds).tolist()
        stays = first, last
        taken[STAY_SLOT] = slots[first:last] - start * max_stays
        for keys in CODES:
            taken |= _csr(batch, keys, start, stop)
    every = batch[DEMOGRAPHICS.offsets].numel() - 1
    hours = (batch[HOURS.offsets].numel() - 1) // max(every, 1)
    taken |= _csr(batch, DEMOGRAPHICS, *stays)
    if STATISTICS in batch:
        taken[STATISTICS] = batch[STATISTICS][slice(*stays)]
    for keys in (HOURS, NUMBERS):
        if keys.offsets in batch:
            taken |= _csr(batch, keys, *(hours * stay for stay in stays))
    return taken


def _csr(batch: Batch, keys: CsrKeys, start: int, stop: int) -> Batch:
    own = batch[keys.offsets][start : stop + 1]
    entries = slice(int(own[0]), int(own[-1]))
    taken = {name: batch[name][entries] for name in keys.entries if name in batch}
    return {keys.offsets: own - own[0]} | taken


def _autocast(device: torch.device | None, bf16: bool) -> torch.autocast:
    """bfloat16 on a GPU if asked for. Operations that must be exact turn it off themselves."""
    kind = "cpu" if device is None else device.type
    return torch.autocast(kind, torch.bfloat16, enabled=bf16 and kind == "cuda")


def _last(objective: nn.Module, chunks: int) -> list[AbstractContextManager[None]]:
    """A context for each chunk: only the last lets processes average their gradients."""
    if not isinstance(objective, DistributedDataParallel):
        return [nullcontext()] * chunks
    return [*(objective.no_sync() for _ in range(chunks - 1)), nullcontext()]


def _random_state(device: torch.device | None) -> Tensor:
    if device is None or device.type != "cuda":
        return torch.get_rng_state()
    return torch.cuda.get_rng_state(device)


def _set_random_state(state: Tensor, device: torch.device | None) -> None:
    if device is None or device.type != "cuda":
        torch.set_rng_state(state)
    else:
        torch.cuda.set_rng_state(state, device)
