"""Real pairs in a folder: for validation only."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xview_demo.errors import XViewError
from xview_demo.evaluation.matching import Descriptors, match
from xview_demo.evaluation.protocol import model_of
from xview_demo.views import AerialView, GroundView


def real_pairs(folder: str | Path) -> list[tuple[GroundView, AerialView]]:
    """Pairs in `<folder>/<set>/{ground,aerial}`, paired by file name.

    A ground file named `lat,lon,heading.png` has that heading; any other is taken to look north.
    """
    found = []
    for ground in sorted(Path(folder).glob("*/ground/*")):
        partners = [p for p in (ground.parent.parent / "aerial").glob("*") if p.stem == ground.stem]
        if not partners:
            continue
        parts = ground.stem.split(",")
        heading = float(parts[2]) if len(parts) == 3 else 0.0
        aerial = AerialView.open(partners[0])
        found.append((GroundView.open(ground, heading=heading), AerialView(aerial.image, name=ground.stem)))
    if not found:
        raise XViewError(f"No pairs in {folder}: it needs <set>/ground and <set>/aerial with files of the same name.")
    return found


@torch.inference_mode()
def evaluate_real_pairs(folder: str | Path, model: Any = "azimuth-world", *, heading: str = "known") -> dict[str, Any]:
    """Retrieval among the real pairs of a folder alone (validation only): the whole aerial picture is the tile."""
    matcher, name = model_of(model, "matching")
    pairs = real_pairs(folder)
    gallery = matcher.encode_aerial(torch.stack([aerial.tile(None) for _, aerial in pairs]))

    def encoded(north: bool) -> Tensor:
        strips = [view.strip(north=north) for view, _ in pairs]
        return matcher.encode_ground(torch.stack([s for s, _ in strips]), torch.stack([m for _, m in strips]))

    headings = np.array([view.heading or 0.0 for view, _ in pairs])
    found = Descriptors(encoded(True), encoded(False), gallery, headings, np.eye(len(pairs), dtype=bool))
    return {"model": name, "seeds": None, **match(matcher, found, heading)}
