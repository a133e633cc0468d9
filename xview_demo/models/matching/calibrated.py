"""What every matcher shares: temperatures that turn its scores into probabilities."""

from collections.abc import Mapping

import torch
from torch import Tensor

from xview_demo.models.hub import HubModel

FULL = 360.0  # degrees of a whole panorama


class Calibrated(HubModel):
    """Base of the matchers.

    Attributes:
        calibration: temperatures of whole panoramas, heading known and unknown.
        fields: fields of view in degrees for which temperatures are fitted, the whole panorama first.
    """

    calibration: tuple[float, ...]
    fields: tuple[float, ...] = (FULL,)

    def calibrate(self, fitted: Mapping[float, tuple[float, float]]) -> None:
        """Set the temperatures and keep them in the configuration.

        Args:
            fitted: for each of `fields`, the temperatures with a known and with an unknown heading.
        """
        self.keep(calibration=fitted[FULL])

    def temperature(self, query: Tensor, known: bool) -> Tensor:
        """Temperatures (Q,) of the scores of some queries (Q, D), their headings known or not."""
        return torch.full((len(query),), self.calibration[0 if known else 1], dtype=torch.float64)
