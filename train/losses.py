"""Losses that are not in a library."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(
    scores: Tensor, valid: Tensor | None = None, smoothing: float = 0.0, further: Tensor | None = None
) -> Tensor:
    """Symmetric InfoNCE: scores (B, B) already divided by the temperature, right pairs on the diagonal.

    `valid` (B, B) is False where a pair is so close on the ground that it must not count as wrong; `smoothing` is the
    share of the target that is spread over all pairs that count; `further` (B, M) are scores of the rows with more
    wrong columns, −inf where they do not count.
    """
    eye = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    keep = torch.ones_like(eye) if valid is None else valid | eye
    wide, wide_keep = scores, keep
    if further is not None:
        wide, wide_keep = torch.cat((scores, further), 1), torch.cat((keep, further.isfinite()), 1)
    return 0.5 * (_nce(wide, wide_keep, smoothing) + _nce(scores.t(), keep.t(), smoothing))


def _nce(scores: Tensor, keep: Tensor, smoothing: float) -> Tensor:
    logs = scores.masked_fill(~keep, float("-inf")).log_softmax(1)
    spread = (logs.masked_fill(~keep, 0.0).sum(1) / keep.sum(1)).mean()
    return -(1 - smoothing) * logs.diagonal().mean() - smoothing * spread


def heading_nce(volume: Tensor, valid: Tensor, blur: int = 1, further: Tensor | None = None) -> Tensor:
    """InfoNCE over tiles *and* headings: volume (B, B, A) over the temperature, truth at tile b, heading 0.

    The `blur` bins on either side of the true heading are not counted as wrong; `further` (B, M, A) compares the
    queries with more wrong tiles, −inf where they do not count.
    """
    b, _, bins = volume.shape
    right = volume.diagonal().t()  # (B, A)
    truth = right[:, 0]
    near = [k % bins for k in range(-blur, blur + 1) if k]
    wrong = volume.masked_fill(~valid[:, :, None], float("-inf"))
    own = right.clone()
    own[:, near] = float("-inf")
    eye = torch.eye(b, dtype=torch.bool, device=volume.device)[:, :, None]
    full = torch.where(eye, own[:, None, :], wrong)
    wide = full if further is None else torch.cat((full, further), 1)
    return 0.5 * ((wide.logsumexp((1, 2)) - truth).mean() + (full.logsumexp((0, 2)) - truth).mean())


def depth_loss(prediction: Tensor, sky: Tensor, metres: Tensor, near: float = 60.0, limit: float = 250.0) -> Tensor:
    """Error of the logarithm, relative error within `near` metres, and cross-entropy of the sky.

    The logarithm alone settles for the median where a thin thing stands before a far one; the relative error, by which
    depth is judged, then prefers the near one. Its exponential growth becomes linear at 4.5 times the true depth.

    Args:
        prediction: (B, H, W) log-depth.
        sky: (B, H, W) logit.
        metres: (B, H, W), inf where there is sky.
        near: metres within which depth matters most.
        limit: metres beyond which it is not learned.
    """
    known = metres.isfinite() & (metres < limit)
    close = known & (metres < near)
    error = prediction - metres.clamp(0.3, limit).log()
    relative = error.clamp_max(1.5).expm1().abs() + math.exp(1.5) * (error - 1.5).clamp_min(0)
    weight = known * torch.where(close, 1.0, 0.3)
    total = (error.abs() * weight).sum() / weight.sum().clamp_min(1)
    total = total + (relative * close).sum() / close.sum().clamp_min(1)
    return total + 0.3 * F.binary_cross_entropy_with_logits(sky, metres.isinf().float())


def weighted_soft_margin(query: Tensor, reference: Tensor, alpha: float = 10.0, valid: Tensor | None = None) -> Tensor:
    """Weighted soft margin over a batch, in both directions (Hu et al., CVPR 2018; Regmi & Shah, ICCV 2019).

    The mean of log(1 + exp(α (d_pos − d_ij))) over all wrong pairs, d = 2 − 2·cos the squared distance.

    Args:
        query, reference: (B, D) of unit length; row i of both shows the same place.
        alpha: steepness, 10 as published.
        valid: (B, B) False where a pair is so close on the ground that it must not count as wrong.
    """
    distance = 2 - 2 * query @ reference.t()
    right = distance.diagonal()
    wrong = _wrong(distance, valid)
    rows = F.softplus(alpha * (right[:, None] - distance))
    columns = F.softplus(alpha * (right[None, :] - distance))
    return (0.5 * (rows + columns) * wrong).sum() / wrong.sum().clamp_min(1)


def triplet_margin(query: Tensor, reference: Tensor, margin: float = 0.2, valid: Tensor | None = None) -> Tensor:
    """Triplet loss max(0, d_pos − d_neg + margin), Euclidean distances, over every wrong tile of the batch.

    Args:
        query, reference: (B, D) of unit length; row i of both shows the same place.
        margin: by which a wrong tile must be further away.
        valid: (B, B) False where a pair is so close on the ground that it must not count as wrong.
    """
    distance = (2 - 2 * query @ reference.t()).clamp_min(1e-8).sqrt()
    wrong = _wrong(distance, valid)
    loss = F.relu(distance.diagonal()[:, None] - distance + margin)
    return (loss * wrong).sum() / wrong.sum().clamp_min(1)


def _wrong(scores: Tensor, valid: Tensor | None) -> Tensor:
    """(B, B) the pairs that count as wrong."""
    off = ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    return off if valid is None else off & valid
