"""The recipes: one per bundled model. `python -m train NAME` runs one."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

from train.cache import SMOKE, TRAIN, CacheConfig
from train.engine import Settings
from xview_demo.errors import XViewError


@dataclass(frozen=True)
class Recipe:
    """What makes one set of weights."""

    summary: str
    method: str  # module:class below `train`
    settings: Settings
    smoke: dict[str, Any] = field(default_factory=dict)  # settings of the one-minute version
    cache: CacheConfig = TRAIN

    def load(self) -> Callable[..., Any]:
        """The method's class."""
        module, name = self.method.split(":")
        return getattr(import_module(f"train.{module}"), name)

    def small(self) -> "Recipe":
        """The one-minute version: tiny world, tiny model, a few steps."""
        return replace(self, settings=replace(self.settings, **self.smoke), cache=SMOKE)


TINY_UNET = {"channels": (16, 16, 8, 8)}

RECIPES: dict[str, Recipe] = {
    "azimuth-world": Recipe(
        "matching: azimuth-structured descriptors, heading by circular correlation",
        "matching:AzimuthMethod",
        Settings("azimuth-world", steps=1400, batch=64, learning_rate=1.2e-3),
        {"steps": 4, "batch": 6, "model": {"widths": (8, 8, 16, 16), "channels": 4}, "options": {"worlds": 2}},
    ),
    "unet-ground-world": Recipe(
        "segmentation of panoramas: U-Net, ResNet-18",
        "segmentation:SegmentationMethod",
        Settings("unet-ground-world", steps=4000, batch=16, learning_rate=1e-3, model={"view": "ground"}),
        {"steps": 4, "batch": 2, "model": {"view": "ground", **TINY_UNET}},
    ),
    "unet-aerial-world": Recipe(
        "segmentation of aerial tiles: U-Net, ResNet-18",
        "segmentation:SegmentationMethod",
        Settings(
            "unet-aerial-world", steps=3800, batch=16, learning_rate=1e-3, model={"view": "aerial"},
            options={"crop": 160},
        ),  # fmt: skip
        {"steps": 4, "batch": 2, "model": {"view": "aerial", **TINY_UNET}},
    ),
    "depth-world": Recipe(
        "depth of panoramas: U-Net, ResNet-18",
        "depth:DepthMethod",
        Settings("depth-world", steps=2000, batch=16, learning_rate=1e-3),
        {"steps": 4, "batch": 2, "model": TINY_UNET},
    ),
    "xfork-world": Recipe(
        "synthesis: X-Fork with the bird's-eye view as a second input",
        "synthesis:XForkMethod",
        Settings(
            "xfork-world", steps=2600, batch=16, learning_rate=2e-4,
            model={"size": 128, "width": 32, "dropout": 0.0, "bird_eye": True, "classes": 8},
            options={"segmentation": 10.0},
        ),  # fmt: skip
        {"steps": 4, "batch": 2, "model": {"size": 32, "width": 8, "bird_eye": True, "classes": 8}},
    ),
}  # fmt: skip


def get(name: str) -> Recipe:
    """A recipe by name; an unknown name gets the list."""
    if name not in RECIPES:
        raise XViewError(f"No recipe named {name!r}. Available: {', '.join(RECIPES)}.")
    return RECIPES[name]
