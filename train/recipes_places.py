"""The recipes of place recognition: six combinations of backbone and pooling, narrow enough for one core."""

from typing import Any

from train.engine import Settings
from train.recipe import Recipe
from xview_demo.models.reranking.features import POOLINGS
from xview_demo.world.places import PlaceWorlds

TITLES = {"alexnet": "AlexNet", "vgg16": "VGG16", "resnet50": "ResNet-50"}
SHAPES: dict[str, tuple[float, int, float, float]] = {  # width, steps, share of the features, their learning rate
    "alexnet": (0.5, 5000, 0.6, 2e-4),
    "vgg16": (0.125, 2600, 0.65, 2e-4),
    "resnet50": (0.125, 2000, 0.65, 5e-4),
}
PHOTOGRAPH = (144, 192)  # pixels


def _recipe(backbone: str, pooling: str) -> Recipe:
    name = f"geowarp-{backbone}-{pooling}-world"
    width, steps, share, rate = SHAPES[backbone]
    model: dict[str, Any] = {"backbone": backbone, "pooling": pooling}
    options = {"share": share, "optimiser": "adam", "rate": 1e-3}
    small = {"refresh": 2, "validate": 2, "validation": 2, "queries": 4, "pool": 8, "negatives": 1, "share": 0.5}
    settings = Settings(
        name, steps=steps, batch=8, learning_rate=rate, weight_decay=1e-4, average=0.0,
        model={**model, "width": width, "size": PHOTOGRAPH}, options=options,
    )  # fmt: skip
    return Recipe(
        f"places: {TITLES[backbone]} with {'GeM' if pooling == 'gem' else 'NetVLAD'}, then GeoWarp's regressor",
        "places:PlacesMethod",
        settings,
        {"steps": 4, "batch": 2, "options": options | small},
        PlaceWorlds(),
        compressed=True,
    )


PLACES: dict[str, Recipe] = {
    f"geowarp-{backbone}-{pooling}-world": _recipe(backbone, pooling) for backbone in TITLES for pooling in POOLINGS
}
ABOUT = {
    name: f"{recipe.summary.removeprefix('places: ')}, narrow, for photographs. Global descriptors retrieve by L2 "
    "distance; query and candidate are then warped to the region they share and compared there (Berton et al., ICCV "
    "2021). Layers and names are those of the published models, which `python -m train import-geowarp` reads."
    for name, recipe in PLACES.items()
}
LIMITS = {
    name: "Trained on photographs of a procedural world, 144 × 192 pixels: on real photographs expect far less than "
    "models trained on Pitts30k reach there; import those, or train on your own folder with `--root`."
    for name in PLACES
}
