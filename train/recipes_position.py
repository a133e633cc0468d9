"""The recipes of the position models."""

from train.engine import Settings
from train.recipe import Recipe

# What the small models have beside the published ones: the street branch, and a U-Net at full resolution.
OURS = {"overhead": 16, "rings": 24, "vector": 64, "detail": (128, 64, 32, 16), "halved": True}
OPTIONS = {"landcover": 4.0, "colour": 0.4, "start": "unet-aerial-world"}

POSITION: dict[str, Recipe] = {
    "mst-world": Recipe(
        "position in a tile and land cover: multi-scale transformer",
        "position:PositionMethod",
        Settings(
            "mst-world", steps=4600, batch=8, learning_rate=6e-4, weight_decay=0.03,
            model={
                "embed": 48, "depths": (1, 1, 2, 1), "heads": (2, 4, 8, 8), "drop_path": 0.0, **OURS,
            },
            options=OPTIONS,
        ),
        {"steps": 3, "batch": 2, "options": {}},
        compressed=True,
    ),
    "featup-world": Recipe(
        "position in a tile and land cover: ResNet-10 and joint bilateral upsampler",
        "position:PositionMethod",
        Settings(
            "featup-world", steps=2400, batch=8, learning_rate=6e-4, weight_decay=0.03,
            model={
                "backbone": "resnet10t", "index": 2, "frozen": False, "channels": 32, "factor": 4,
                "key": 16, "radius": 2, "hidden": 96, **OURS,
            },
            options={"family": "featup", **OPTIONS},
        ),
        {"steps": 3, "batch": 2, "options": {"family": "featup"}},
        compressed=True,
    ),
}  # fmt: skip
