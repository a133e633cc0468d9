"""The recipes: one per bundled model. `python -m train NAME` runs one."""

from train.cache import DENSE
from train.engine import Settings
from train.recipe import Recipe
from train.recipes_ladder import LADDER
from train.recipes_matching import MATCHING_PRESETS
from train.recipes_places import PLACES
from train.recipes_position import POSITION
from train.recipes_segformer import PRESETS as SEGFORMER_PRESETS
from train.recipes_segformer import SEGFORMER
from train.recipes_synthesis import PRESETS as SYNTHESIS_PRESETS
from train.recipes_synthesis import SYNTHESIS
from xview_demo.errors import XViewError

RECIPES: dict[str, Recipe] = {
    "azimuth-world": Recipe(
        "matching: azimuth-structured descriptors, heading by circular correlation",
        "matching:AzimuthMethod",
        Settings(
            "azimuth-world", steps=4500, batch=64, learning_rate=2.5e-3,
            options={"offset": 1.4, "later": {"after": 600, "narrow": 0.8, "lean": 2.0, "hard": 8}},
        ),
        {"steps": 4, "batch": 6, "options": {"worlds": 2, "memory": 8, "later": {"after": 1, "hard": 2}}},
        DENSE,
    ),
    "azimuth-verifier-world": Recipe(
        "matching: judges pairs that azimuth-world finds, panorama and tile in one network",
        "verification:VerifierMethod",
        Settings("azimuth-verifier-world", steps=2400, batch=16, learning_rate=2.5e-3, options={"colour": 0.7}),
        {"steps": 4, "batch": 3, "options": {"first": "tiny", "worlds": 2, "among": 4, "candidates": 3}},
        DENSE,
    ),
    "bird-eye-features-world": Recipe(
        "matching: dense features of the bird's-eye view and the tile, correlated over shifts",
        "bird_eye:BirdEyeMethod",
        Settings("bird-eye-features-world", steps=1600, batch=24, learning_rate=2e-3),
        {"steps": 4, "batch": 4, "options": {"worlds": 2}},
    ),
    "unet-ground-world": Recipe(
        "segmentation of panoramas: U-Net, ResNet-18",
        "segmentation:SegmentationMethod",
        Settings(
            "unet-ground-world", steps=5000, batch=16, learning_rate=5e-3, model={"view": "ground"},
            options={"settled": 2600, "exact": 2600, "muon": True},
        ),  # fmt: skip
        {"steps": 4, "batch": 2, "options": {"settled": 2, "exact": 2}},
        DENSE,
    ),
    "unet-aerial-world": Recipe(
        "segmentation of aerial tiles: U-Net, ResNet-18",
        "segmentation:SegmentationMethod",
        Settings(
            "unet-aerial-world", steps=6000, batch=16, learning_rate=5e-3, model={"view": "aerial"},
            options={"crop": 160, "scale": 0.1, "colour": 0.2, "exact": 2500, "muon": True},
        ),  # fmt: skip
        {"steps": 4, "batch": 2, "options": {"exact": 2}},
        DENSE,
    ),
    "depth-world": Recipe(
        "depth of panoramas: U-Net, ResNet-18",
        "depth:DepthMethod",
        Settings(
            "depth-world", steps=7000, batch=16, learning_rate=6e-3, options={"settled": 4000, "whole": 3000}
        ),
        {"steps": 4, "batch": 2},
        DENSE,
        compressed=True,
    ),
    **LADDER,
    **SYNTHESIS,
    **PLACES,
    **SEGFORMER,
    **POSITION,
}  # fmt: skip
PRESETS: dict[str, Recipe] = SYNTHESIS_PRESETS | MATCHING_PRESETS | SEGFORMER_PRESETS


def get(name: str) -> Recipe:
    """A recipe or preset by name; an unknown name gets the list."""
    known = RECIPES | PRESETS
    if name not in known:
        raise XViewError(f"No recipe named {name!r}. Available: {', '.join(known)}.")
    return known[name]
