"""Joint feature learning: panorama, tile and synthetic aerial view in one space.

Regmi & Shah, "Bridging the domain gap for ground-to-aerial image matching", ICCV 2019
(https://arxiv.org/abs/1904.11045), section 3.2: the two-stream network with a third stream for the synthetic view,
trained with (10·L(ground, aerial) + 1·L(synthetic, aerial)) / 11.

| stage | ground | aerial | synthetic |
|---|---|---|---|
| input, published | (B, 3, 224, 1232) | (B, 3, 512, 512) | (B, 3, 512, 512) |
| encoder (see `two_stream`) | its own | its own | the aerial one (`shared`), or its own |
| linear | 53760 → 1000 | 43008 → 1000 | the aerial one |
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from xview_demo.errors import ModelError
from xview_demo.models.matching.aligned import AlignedMatcher, resized
from xview_demo.models.matching.two_stream import CHANNELS, MultiScaleEncoder, TwoStream, head


class JointFeature(AlignedMatcher):
    """Three streams; the query's descriptor is that of the panorama or of its synthetic view.

    Args:
        query: "ground" or "synthetic", what is compared with tiles.
        shared: real and synthetic aerial views share their encoder (the authors' poster) or do not (their code); the
            linear layer is shared in both.
        channels, features, aerial_size, ground_size, dropout: see `TwoStream`.
        turns, calibration: see `AlignedMatcher`.
    """

    def __init__(
        self,
        query: str = "ground",
        shared: bool = True,
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
        self.features = features
        self.aerial_shape, self.ground_shape = (aerial_size, aerial_size), (ground_size[0], ground_size[1])
        self.ground_encoder = MultiScaleEncoder(channels, dropout)
        self.aerial_encoder = MultiScaleEncoder(channels, dropout)
        self.synthetic_encoder = None if shared else MultiScaleEncoder(channels, dropout)
        self.ground_head = head(self.ground_encoder.length(*self.ground_shape), features)
        self.aerial_head = head(self.aerial_encoder.length(*self.aerial_shape), features)

    def ground_features(self, strip: Tensor) -> Tensor:
        """Strip (B, 3, H, W) in [0, 1] → (B, features), unit length."""
        return F.normalize(self.ground_head(self.ground_encoder(resized(strip, *self.ground_shape))).float(), dim=1)

    def aerial_features(self, tile: Tensor) -> Tensor:
        """Tile (B, 3, P, P) in [0, 1] → (B, features), unit length."""
        return F.normalize(self.aerial_head(self.aerial_encoder(resized(tile, *self.aerial_shape))).float(), dim=1)

    def synthetic_features(self, synthetic: Tensor) -> Tensor:
        """Synthetic aerial view (B, 3, P, P) in [0, 1] → (B, features), unit length."""
        encoder = self.synthetic_encoder or self.aerial_encoder
        return F.normalize(self.aerial_head(encoder(resized(synthetic, *self.aerial_shape))).float(), dim=1)

    def describe_query(self, strip: Tensor, **made: Tensor) -> Tensor:
        """(B, features)."""
        return self.synthetic_features(made["synthetic"]) if self.needs else self.ground_features(strip)

    def describe_reference(self, tile: Tensor) -> Tensor:
        """(B, features)."""
        return self.aerial_features(tile)

    def start_from(self, baseline: TwoStream) -> None:
        """Take the weights of a two-stream network on (ground, aerial) of the same size, as published.

        Raises:
            ModelError: it compares synthetic views, or has another size.
        """
        if baseline.needs:
            raise ModelError("The two-stream network compares synthetic views: start from one that compares panoramas.")
        pairs: list[tuple[nn.Module | None, nn.Module]] = [
            (self.ground_encoder, baseline.query_encoder),
            (self.ground_head, baseline.query_head),
            (self.aerial_encoder, baseline.reference_encoder),
            (self.aerial_head, baseline.reference_head),
            (self.synthetic_encoder, baseline.reference_encoder),
        ]
        try:
            for own, trained in pairs:
                if own is not None:
                    own.load_state_dict(trained.state_dict())
        except RuntimeError as error:
            raise ModelError(
                "The two-stream network has another size than the joint features that start from it: train both with "
                "the same channels, features, aerial_size and ground_size."
            ) from error
