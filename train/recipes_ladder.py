"""The recipes of the ladder: matchers of the source systems, in small sizes."""

from typing import Any

from train.engine import Settings
from train.recipe import Recipe
from xview_demo.zoo import get

CONVOLUTIONS: dict[str, Any] = {
    "channels": (24, 48, 64, 64, 64, 64), "features": 96, "aerial_size": 128, "ground_size": (64, 256), "dropout": 0.1,
}  # fmt: skip
VGG: dict[str, Any] = {"batch_norm": True, "aerial_size": 128, "ground_size": (64, 256)}
SUMMARIES = {
    "two-stream-world": "matching: two streams, panorama and tile",
    "two-stream-synthetic-world": "matching: two streams, synthetic aerial view and tile",
    "joint-feature-world": "matching: joint features of panorama, tile and synthetic view",
    "feature-fusion-world": "matching: fusion of frozen joint features",
    "joint-fusion-vgg-world": "matching: VGG features fused by a 1×1 convolution",
    "gasc-fusion-world": "matching: VGG features of G, A, S and C, fused by a network for each side",
}


def _recipe(
    name: str, method: str, model: dict[str, Any], options: dict[str, Any] | None = None, *, compressed: bool = False,
    **given: Any,
) -> Recipe:  # fmt: skip
    """A recipe whose smoke version is the zoo's tiny model with tiny random helpers."""
    chosen: dict[str, Any] = {"steps": 1600, "batch": 48, "learning_rate": 1e-3, **given}
    settings = Settings(name, model=model, options=options or {}, **chosen)
    tiny = {key: value for key, value in get(name).tiny.items() if key != "joint"}
    small = {key: value for key, value in (options or {}).items() if isinstance(value, (str, bool))}
    smoke = {"steps": 3, "batch": 4, "model": tiny, "options": {**small, "worlds": 2, "size": 32, "helpers": "tiny"}}
    return Recipe(SUMMARIES[name], f"ladder:{method}", settings, smoke, compressed=compressed)


LADDER: dict[str, Recipe] = {
    "two-stream-world": _recipe("two-stream-world", "TwoStreamMethod", CONVOLUTIONS),
    "two-stream-synthetic-world": _recipe(
        "two-stream-synthetic-world", "TwoStreamMethod", CONVOLUTIONS | {"query": "synthetic"}
    ),
    "joint-feature-world": _recipe(
        "joint-feature-world", "JointFeatureMethod", CONVOLUTIONS, {"start": "two-stream-world"}, learning_rate=5e-4
    ),
    "feature-fusion-world": _recipe(
        "feature-fusion-world", "FeatureFusionMethod", {"features": 96}, {"joint": "joint-feature-world", "views": 2},
        steps=6000, batch=100,
    ),
    "joint-fusion-vgg-world": _recipe(
        "joint-fusion-vgg-world", "JointFusionVGGMethod",
        # the global average keeps of the layout what the last layers, which see all of it, have put into channels
        VGG | {"layers": (16, "M", 32, "M", 64, "M", 96, "M", 128, "M", 160, "M", 160)}, {"muon": True},
        learning_rate=3e-3, compressed=True,
    ),
    "gasc-fusion-world": _recipe(
        "gasc-fusion-world", "GascFusionMethod",
        VGG | {"layers": (16, "M", 32, "M", 64, "M", 96, 96, "M", 48), "cells": 4, "hidden": (512, 256)},
        {"muon": True}, learning_rate=3e-3, compressed=True,
    ),
}  # fmt: skip
