"""Two-stream baseline: an encoder and a linear layer for each view, weighted soft-margin loss.

Regmi & Shah, "Bridging the domain gap for ground-to-aerial image matching", ICCV 2019
(https://arxiv.org/abs/1904.11045), section 4. The query is the panorama, or its synthetic aerial view.

| stage | published: aerial | published: ground | small (6 layers): both |
|---|---|---|---|
| input | (B, 3, 512, 512) | (B, 3, 224, 1232) | (B, 3, 128, 128), (B, 3, 64, 256) |
| encoder, k4 s2, SAME | 64, 128, 256, 512, 512, 512, 512, 512 | the same | its own widths |
| last three layers | 8² + 4² + 2² cells × 512 = 43008 | 4×20 + 2×10 + 1×5 cells × 512 = 53760 | 84 cells |
| linear, L2 | 1000 | 1000 | `features` |
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xview_demo.models.matching.aligned import AlignedMatcher, resized

CHANNELS = (64, 128, 256, 512, 512, 512, 512, 512)
SCALES = 3  # last layers whose output is kept


class MultiScaleEncoder(nn.Module):
    """Convolutions k4 s2 with SAME padding and ReLU; the flattened outputs of the last three, side by side.

    Args:
        channels: of each layer, at least three.
        dropout: rate after each of the last three layers.
    """

    def __init__(self, channels: Sequence[int] = CHANNELS, dropout: float = 0.5) -> None:
        super().__init__()
        if len(channels) < SCALES:
            raise ValueError(f"channels has {len(channels)} layers: give at least {SCALES}.")
        pairs = zip((3, *channels[:-1]), channels, strict=True)
        self.layers = nn.ModuleList(nn.Conv2d(i, o, 4, 2) for i, o in pairs)
        self.dropout = nn.Dropout(dropout)
        for layer in self.layers:
            nn.init.xavier_uniform_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] → (B, `length(H, W)`)."""
        x, scales = image * 2 - 1, []
        for number, layer in enumerate(self.layers, 1 - len(self.layers)):
            x = F.relu(layer(F.pad(x, (1, 1 + x.shape[-1] % 2, 1, 1 + x.shape[-2] % 2))))
            if number > -SCALES:
                x = self.dropout(x)
                scales.append(x.flatten(1))
        return torch.cat(scales, 1)

    def length(self, height: int, width: int) -> int:
        """Numbers that describe a picture of that size."""
        lengths = []
        for layer in self.layers:
            height, width = -(-height // 2), -(-width // 2)
            lengths.append(height * width * int(layer.out_channels))  # type: ignore[arg-type]
        return sum(lengths[-SCALES:])


def head(inputs: int, outputs: int) -> nn.Linear:
    """Linear layer, weights truncated normal 0.005, bias 0.1, as published."""
    layer = nn.Linear(inputs, outputs)
    nn.init.trunc_normal_(layer.weight, std=0.005, a=-0.01, b=0.01)
    nn.init.constant_(layer.bias, 0.1)
    return layer


class TwoStream(AlignedMatcher):
    """A stream for the query and one for the tile.

    Args:
        query: "ground", or "synthetic" for the query's synthetic aerial view.
        channels: of the encoders' layers.
        features: length of a descriptor.
        aerial_size: side of aerial pictures in pixels.
        ground_size: (height, width) of the strip in pixels.
        dropout: rate after each of the last three layers (the source does not say; ours).
        turns, calibration: see `AlignedMatcher`.
    """

    def __init__(
        self,
        query: str = "ground",
        channels: Sequence[int] = CHANNELS,
        features: int = 1000,
        aerial_size: int = 512,
        ground_size: Sequence[int] = (224, 1232),
        dropout: float = 0.5,
        turns: int = 16,
        calibration: Sequence[float] = (0.05, 0.05),
    ) -> None:
        super().__init__(turns, calibration)
        if query not in ("ground", "synthetic"):
            raise ValueError(f"query is {query!r}: use 'ground' or 'synthetic'.")
        self.needs = () if query == "ground" else ("synthetic",)
        self.aerial_shape = (aerial_size, aerial_size)
        self.query_shape = (ground_size[0], ground_size[1]) if query == "ground" else self.aerial_shape
        self.query_encoder = MultiScaleEncoder(channels, dropout)
        self.reference_encoder = MultiScaleEncoder(channels, dropout)
        self.query_head = head(self.query_encoder.length(*self.query_shape), features)
        self.reference_head = head(self.reference_encoder.length(*self.aerial_shape), features)

    def describe_query(self, strip: Tensor, **made: Tensor) -> Tensor:
        """(B, features), not normalised."""
        return self.query_head(self.query_encoder(resized(made.get("synthetic", strip), *self.query_shape)))

    def describe_reference(self, tile: Tensor) -> Tensor:
        """(B, features), not normalised."""
        return self.reference_head(self.reference_encoder(resized(tile, *self.aerial_shape)))
