"""Feature fusion: what joint feature learning says of the panorama and of its synthetic aerial view, as one query.

Regmi & Shah, "Bridging the domain gap for ground-to-aerial image matching", ICCV 2019
(https://arxiv.org/abs/1904.11045), section 3.3. The joint features are frozen; only the two linear layers learn, on
features exported from the training split.

| stage | query | tile |
|---|---|---|
| joint features, published | 1000 (ground), 1000 (synthetic) | 1000 |
| linear, L2 | 2000 → 1000 | 1000 → 1000 |
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from xview_demo.models.matching.aligned import AlignedMatcher
from xview_demo.models.matching.joint_feature import JointFeature


class FeatureFusion(AlignedMatcher):
    """Frozen `JointFeature`, and a linear layer for each side.

    Args:
        joint: keywords of the `JointFeature` (published size when None); its weights are part of this model's.
        features: length of a descriptor.
        turns, calibration: see `AlignedMatcher`.
    """

    needs = ("synthetic",)

    def __init__(
        self,
        joint: Mapping[str, Any] | None = None,
        features: int = 1000,
        turns: int = 16,
        calibration: Sequence[float] = (0.05, 0.05),
    ) -> None:
        super().__init__(turns, calibration)
        self.joint = JointFeature(**(joint or {})).requires_grad_(False)
        self.query_head = nn.Linear(2 * self.joint.features, features)
        self.reference_head = nn.Linear(self.joint.features, features)

    def train(self, mode: bool = True) -> Self:
        """Training mode for the linear layers alone: the joint features stay as they are, without dropout."""
        super().train(mode)
        self.joint.eval()
        return self

    def fuse(self, ground: Tensor, synthetic: Tensor) -> Tensor:
        """Joint features of the panorama and of its synthetic view, each (B, F) → query (B, features)."""
        return self.query_head(torch.cat((ground, synthetic), 1))

    def project(self, aerial: Tensor) -> Tensor:
        """Joint features of tiles (B, F) → references (B, features)."""
        return self.reference_head(aerial)

    def describe_query(self, strip: Tensor, **made: Tensor) -> Tensor:
        """(B, features), not normalised."""
        return self.fuse(self.joint.ground_features(strip), self.joint.synthetic_features(made["synthetic"]))

    def describe_reference(self, tile: Tensor) -> Tensor:
        """(B, features), not normalised."""
        return self.project(self.joint.aerial_features(tile))
