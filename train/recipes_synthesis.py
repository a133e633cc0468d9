"""The recipes of the generators."""

from train.engine import Settings
from train.recipe import Recipe

SYNTHESIS: dict[str, Recipe] = {
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
