"""CrossFormer (Wang et al., ICLR 2022, https://arxiv.org/abs/2108.00154): the encoder of the `mst` model.

| stage | tokens of a 256² picture | channels (published) |
|---|---|---|
| cross-scale embedding, kernels 4, 8, 16, 32, stride 4 | 64 × 64 | 96 |
| 2 blocks; merging, kernels 2, 4 | 32 × 32 | 192 |
| 2 blocks; merging | 16 × 16 | 384 |
| 6 blocks; merging | 8 × 8 | 768 |
| 2 blocks | 8 × 8 | 768 |

Blocks attend within groups of 8 × 8 tokens, in turn of neighbours (short distance) and of tokens at equal intervals
(long distance). Pictures need not be square: along a side that no group of 8 divides, the largest that does is taken.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EMBEDDING = (4, 8, 16, 32)  # kernels of the cross-scale embedding
MERGING = (2, 4)  # kernels of the cross-scale merging


class CrossScaleEmbedding(nn.Module):
    """Convolutions of several kernels at one stride, side by side; larger kernels get fewer channels.

    Args:
        inputs, outputs: channels.
        kernels: ascending; each gets half the channels of the one before, the last as many as the last but one.
        stride: of all.
    """

    def __init__(self, inputs: int, outputs: int, kernels: tuple[int, ...], stride: int) -> None:
        super().__init__()
        halves = [min(n + 1, len(kernels) - 1) for n in range(len(kernels))]
        self.convs = nn.ModuleList(
            nn.Conv2d(inputs, outputs // 2**half, kernel, stride, (kernel - stride) // 2)
            for kernel, half in zip(kernels, halves, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, H / stride, W / stride, outputs)."""
        return torch.cat([conv(x) for conv in self.convs], 1).permute(0, 2, 3, 1)


class DynamicPositionBias(nn.Module):
    """A small network from a relative position to one bias for each head, so that groups may have any size."""

    def __init__(self, dimension: int, heads: int) -> None:
        super().__init__()
        hidden = max(4, dimension // 4)
        self.first = nn.Linear(2, hidden)
        self.inner = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, hidden)) for _ in range(2)
        )
        self.last = nn.Sequential(nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, heads))

    def forward(self, height: int, width: int) -> Tensor:
        """Biases (heads, N, N) between the N = height · width tokens of a group."""
        device = self.first.weight.device
        rows, columns = torch.arange(1 - height, height, device=device), torch.arange(1 - width, width, device=device)
        offsets = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1).view(-1, 2)
        x = self.first(offsets.to(self.first.weight))
        for layer in self.inner:
            x = layer(x)
        table = self.last(x)  # ((2h − 1)(2w − 1), heads)
        row = torch.arange(height, device=device)[:, None].expand(height, width).reshape(-1)
        column = torch.arange(width, device=device).repeat(height)
        down, right = row[:, None] - row + height - 1, column[:, None] - column + width - 1
        return table[down * (2 * width - 1) + right].permute(2, 0, 1)


class DropPath(nn.Module):
    """Leave out a whole branch for some pictures of a batch in training (stochastic depth)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(B, …) → (B, …)."""
        if not self.training or self.rate == 0:
            return x
        keep = torch.rand(len(x), *[1] * (x.dim() - 1), device=x.device) >= self.rate
        return x * keep / (1 - self.rate)


class CrossFormerBlock(nn.Module):
    """Attention within groups, then a two-layer perceptron, each with a residual.

    Args:
        dimension: channels.
        heads: of the attention.
        group: side of a group in tokens.
        far: whether a group's tokens lie at equal intervals (long distance) or side by side (short distance).
        ratio: width of the perceptron over `dimension`.
        drop_path: rate.
    """

    def __init__(self, dimension: int, heads: int, group: int, far: bool, ratio: float, drop_path: float) -> None:
        super().__init__()
        self.heads, self.group, self.far = heads, group, far
        self.norm1, self.norm2 = nn.LayerNorm(dimension), nn.LayerNorm(dimension)
        self.qkv, self.project = nn.Linear(dimension, 3 * dimension), nn.Linear(dimension, dimension)
        self.bias = DynamicPositionBias(dimension, heads)
        hidden = int(dimension * ratio)
        self.mlp = nn.Sequential(nn.Linear(dimension, hidden), nn.GELU(), nn.Linear(hidden, dimension))
        self.drop = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) → (B, H, W, C)."""
        x = x + self.drop(self._attention(self.norm1(x)))
        return x + self.drop(self.mlp(self.norm2(x)))

    def _attention(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        h, w = largest_divisor(height, self.group), largest_divisor(width, self.group)
        rows, columns = height // h, width // w
        if self.far:  # tokens row, row + rows, row + 2 rows … are one group
            x = x.view(batch, h, rows, w, columns, channels).permute(0, 2, 4, 1, 3, 5)
        else:
            x = x.view(batch, rows, h, columns, w, channels).permute(0, 1, 3, 2, 4, 5)
        x = x.reshape(batch * rows * columns, h * w, channels)
        q, k, v = self.qkv(x).view(len(x), h * w, 3, self.heads, channels // self.heads).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias(h, w).to(q.dtype)[None])
        x = self.project(x.transpose(1, 2).reshape(len(x), h * w, channels))
        x = x.view(batch, rows, columns, h, w, channels)
        x = x.permute(0, 3, 1, 4, 2, 5) if self.far else x.permute(0, 1, 3, 2, 4, 5)
        return x.reshape(batch, height, width, channels)


class CrossFormer(nn.Module):
    """The encoder: features at strides 4, 8, 16, 32.

    Args:
        inputs: channels of the picture.
        embed: channels of the first stage; each stage doubles them.
        depths, heads: blocks and attention heads of the stages.
        group: side of an attention group in tokens.
        ratio: width of the perceptrons.
        drop_path: rate of the last block; earlier ones have less.
    """

    def __init__(
        self,
        inputs: int = 3,
        embed: int = 96,
        depths: tuple[int, ...] = (2, 2, 6, 2),
        heads: tuple[int, ...] = (3, 6, 12, 24),
        group: int = 8,
        ratio: float = 4.0,
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        self.widths = tuple(embed * 2**n for n in range(len(depths)))
        self.embedding, self.norm = CrossScaleEmbedding(inputs, embed, EMBEDDING, 4), nn.LayerNorm(embed)
        rates = iter(torch.linspace(0, drop_path, sum(depths), device="cpu").tolist())
        self.stages, self.merging = nn.ModuleList(), nn.ModuleList()
        for width, depth, head in zip(self.widths, depths, heads, strict=True):
            blocks = [CrossFormerBlock(width, head, group, n % 2 == 1, ratio, next(rates)) for n in range(depth)]
            self.stages.append(nn.Sequential(*blocks))
        for width in self.widths[:-1]:
            self.merging.append(
                nn.ModuleDict({"norm": nn.LayerNorm(width), "embed": CrossScaleEmbedding(width, 2 * width, MERGING, 2)})
            )

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, C, H, W), sides multiples of 32 → features (B, widths[n], H / 4·2ⁿ, W / 4·2ⁿ), the finest first."""
        x, found = self.norm(self.embedding(image)), []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            found.append(x.permute(0, 3, 1, 2))
            if number < len(self.merging):
                merge = self.merging[number]
                x = merge["embed"](merge["norm"](x).permute(0, 3, 1, 2))  # type: ignore[operator, index]
        return found


def largest_divisor(size: int, limit: int) -> int:
    """The largest divisor of `size` that is at most `limit`."""
    return next(n for n in range(min(size, limit), 0, -1) if size % n == 0)
