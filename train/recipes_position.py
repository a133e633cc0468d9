"""The recipes of the position models."""

from train.engine import Settings
from train.recipe import Recipe

OURS = {"overhead": 16, "rings": 24, "vector": 64}  # the street branch of the small models

POSITION: dict[str, Recipe] = {
    "mst-world": Recipe(
        "position in a tile and land cover: multi-scale transformer",
        "position:PositionMethod",
        Settings(
            "mst-world", steps=2000, batch=16, learning_rate=1e-3, weight_decay=0.03,
            model={
                "size": 128, "embed": 48, "depths": (1, 1, 2, 1), "heads": (2, 4, 8, 8), "drop_path": 0.0,
                "detail": 16, "stride": 2, **OURS,
            },
            options={"landcover": 4.0, "colour": 0.4},
        ),
        {"steps": 3, "batch": 2},
        compressed=True,
    ),
    "featup-world": Recipe(
        "position in a tile and land cover: ResNet-10 and joint bilateral upsampler",
        "position:PositionMethod",
        Settings(
            "featup-world", steps=2000, batch=16, learning_rate=1e-3, weight_decay=0.03,
            model={
                "size": 128, "backbone": "resnet10t", "index": 2, "frozen": False, "channels": 32, "factor": 4,
                "key": 16, "radius": 2, "hidden": 96, **OURS,
            },
            options={"family": "featup"},
        ),
        {"steps": 3, "batch": 2},
        compressed=True,
    ),
}  # fmt: skip
