"""Inter-modality contrast (Eq. 10), with negatives from every process.

Each of W processes compares its own rows with the columns of all. The gather is differentiable and
means are over global counts, so the average over processes that DistributedDataParallel takes is
the loss and the gradient of one process that holds the whole batch.
"""

from typing import Any, Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from medhmp.model.sparse import full_precision


def world_size() -> int:
    """W; 1 where ``torch.distributed`` is not in use."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class AllGatherRows(torch.autograd.Function):
    """Rows of all processes in the order of their ranks; each process has the same number."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = x.shape[0]
        parts = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        # Each process has a part of the gradient of each row: sum the parts, keep our rows.
        grad = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(grad)
        start = dist.get_rank() * ctx.rows
        return grad[start : start + ctx.rows]


def gather_rows(x: Tensor) -> Tensor:
    """Gathers (B, ...) of all processes to (W*B, ...), differentiably; of one process, x itself."""
    if world_size() == 1:
        return x
    gathered: Tensor = AllGatherRows.apply(x)  # type: ignore[no-untyped-call]
    return gathered


def global_count(counted: Tensor) -> Tensor:
    """Number of true elements of ``counted`` on all processes together, at least 1."""
    count = counted.sum()
    if world_size() > 1:
        dist.all_reduce(count)
    return count.clamp(min=1)


def global_mean(terms: Tensor, counted: Tensor, count: Tensor | None = None) -> Tensor:
    """This process's share of the mean of the counted terms of all processes.

    The share is scaled by W: DistributedDataParallel averages gradients over processes, and the
    average of the shares is the mean. Zero where nothing is counted.

    Args:
        terms: any shape, finite also where not counted.
        counted: the same shape, bool.
        count: ``global_count`` of the whole batch, of which the terms may be a chunk; none: of
            these terms.

    Returns:
        A scalar.
    """
    count = global_count(counted) if count is None else count
    return world_size() * torch.where(counted, terms, 0).sum() / count


def contrastive_loss(
    queries: Tensor,
    keys: Tensor,
    has_query: Tensor,
    has_key: Tensor,
    subject_id: Tensor,
    temperature: float,
    denominator: Literal["exclude_positive", "include_positive"],
) -> Tensor:
    """L_CL of Eq. 10, averaged over the terms that exist.

    The negatives of row i are the keys of other patients, never of the same one. A term whose
    query, key or every negative is missing leaves the mean.

    Args:
        queries: (B, K, R), the K modality embeddings r_i.
        keys: (B, K, R), a_i without r_i.
        has_query: (B, K) bool, the modality is present.
        has_key: (B, K) bool, another modality is present.
        subject_id: (B).
        temperature: tau.
        denominator: includes or excludes the positive; Eq. 10 as printed excludes it.

    Returns:
        A scalar, this process's share (see ``global_mean``).
    """
    exact = torch.promote_types(queries.dtype, torch.float32)
    with full_precision(queries):
        queries = F.normalize(queries.to(exact), dim=-1)
        keys = F.normalize(keys.to(exact), dim=-1)
        columns = gather_rows(keys)  # (W*B, K, R)
        similarity = queries.transpose(0, 1) @ columns.permute(1, 2, 0) / temperature  # (K, B, W*B)
    positive = (queries * keys).sum(-1).t() / temperature  # (K, B)

    stranger = subject_id.unsqueeze(1) != gather_rows(subject_id)  # (B, W*B)
    negative = stranger & gather_rows(has_key).t().unsqueeze(1)  # (K, B, W*B)
    has_negative = negative.any(-1)  # (K, B)
    # A row without negatives is not counted. It keeps its columns, or its gradient were 0 * inf.
    hidden = ~negative & has_negative.unsqueeze(-1)
    partition = similarity.masked_fill(hidden, -torch.inf).logsumexp(-1)  # (K, B)
    if denominator == "include_positive":
        partition = torch.logaddexp(partition, positive)
    return global_mean(partition - positive, (has_query & has_key).t() & has_negative)
