"""A matcher together with the models that make the pictures it needs of a query.

Matchers of the source systems look at the query's synthetic aerial view and at its classes beside the panorama itself.
`Composed` makes them, so that every matcher is used in the same way.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xview_demo import zoo
from xview_demo.classes import PALETTE
from xview_demo.errors import ModelError
from xview_demo.geometry import roll_columns

SYNTHESIS, SEGMENTATION = "xfork-world", "unet-aerial-world"
PIXELS = 256  # side of the pictures that are made


@dataclass(frozen=True)
class Composed:
    """A matcher and where its helpers come from; they are asked for only when the matcher needs them."""

    matcher: Any
    synthesis: Callable[[], Any]
    segmentation: Callable[[], Any]

    @property
    def turns(self) -> int:
        """Headings that are tried for a query of unknown heading; 1 when the matcher searches by itself."""
        return getattr(self.matcher, "turns", 1)

    @property
    def needs(self) -> Sequence[str]:
        """Pictures that the matcher needs of a query (see `pictures`)."""
        return getattr(self.matcher, "needs", ())

    @property
    def fields(self) -> tuple[float, ...]:
        """Fields of view that the matcher is calibrated for."""
        return self.matcher.fields

    def encode_ground(self, strip: Tensor, mask: Tensor | None = None) -> Tensor:
        """Strips (B, 3, H, W) and masks (B, 1, H, W) → descriptors (B, D) in the strips' own frame."""
        return self.matcher.encode_ground(strip, mask, **self.pictures(self.needs, strip, mask))

    def encode_turned(self, strip: Tensor, mask: Tensor | None = None) -> Tensor:
        """Descriptors (B, turns·D) of strips of unknown heading, as the matcher's `score` takes them.

        Entry k is that of the strip turned to north if its heading were k·360 / turns.
        """
        if self.turns == 1:
            return self.encode_ground(strip, mask)
        angles = [-360.0 * k / self.turns for k in range(self.turns)]
        turned = [
            self.encode_ground(roll_columns(strip, a), None if mask is None else roll_columns(mask, a)) for a in angles
        ]
        return torch.cat(turned, 1)

    def encode_aerial(self, tile: Tensor) -> Tensor:
        """Tiles (B, 3, P, P) → descriptors (B, D)."""
        return self.matcher.encode_aerial(tile)

    def aligned(self, query: Tensor, reference: Tensor) -> Tensor:
        """The matcher's scores (Q, N) of queries turned to north."""
        return self.matcher.aligned(query, reference)

    def score(self, query: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """The matcher's best scores and headings (Q, N) of what `encode_turned` gives."""
        return self.matcher.score(query, reference)

    def calibrate(self, fitted: Mapping[float, tuple[float, float]]) -> None:
        """Set the matcher's temperatures."""
        self.matcher.calibrate(fitted)

    def temperature(self, query: Tensor, known: bool) -> Tensor:
        """The matcher's temperatures (Q,) of what `encode_ground` or `encode_turned` gives."""
        return self.matcher.temperature(query, known)

    def invariants(self, descriptors: Tensor) -> Tensor | None:
        """What the matcher's first stage compares; None without such a stage."""
        of = getattr(self.matcher, "invariants", None)
        return None if of is None else of(descriptors)

    def pictures(self, needs: Sequence[str], strip: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """The pictures (B, 3, 256, 256) in [0, 1] of `needs`: "synthetic", and its "segmentation" in colours."""
        if not needs:
            return {}
        from xview_demo.models.synthesis.interface import Query

        net = self.synthesis()
        if net.needs:
            raise ModelError(
                f"{type(net).__name__} needs the {' and the '.join(net.needs)} of a view, a query has its picture "
                f"only: choose another model for synthesis, such as {SYNTHESIS}."
            )
        image = net.draw(Query(strip, mask)).image.float()
        image = F.interpolate(image, (PIXELS, PIXELS), mode="bilinear", antialias=True)
        made = {"synthetic": image.clamp(0, 1)}
        if "segmentation" in needs:
            labels, _ = self.segmentation().predict(made["synthetic"])
            palette = torch.from_numpy(PALETTE).to(strip.device).float() / 255
            made["segmentation"] = palette[labels.long()].permute(0, 3, 1, 2)
        return {kind: made[kind] for kind in needs}


def composed(matcher: Any, synthesis: Any = SYNTHESIS, segmentation: Any = SEGMENTATION) -> Composed:
    """A matcher with its helpers, each a model or the name of one, which is then loaded when it is needed.

    Raises:
        ModelError: when a helper is needed whose weights are not here; the message names the remedy.
    """
    return Composed(matcher, _loader(synthesis, "synthesis"), _loader(segmentation, "segmentation"))


def _loader(model: Any, task: str) -> Callable[[], Any]:
    loaded: list[Any] = [] if isinstance(model, str) else [model]

    def load() -> Any:
        if not loaded:
            loaded.append(zoo.load(model, task=task))
        return loaded[0]

    return load
