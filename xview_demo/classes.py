"""The class scheme of both views, its colours, and how other schemes map onto it."""

import numpy as np

CLASSES: tuple[str, ...] = ("background", "building", "sky", "vegetation", "road", "ground", "water", "sand")
CLASS_ID: dict[str, int] = {name: index for index, name in enumerate(CLASSES)}
BACKGROUND, BUILDING, SKY, VEGETATION, ROAD, GROUND, WATER, SAND = range(8)

PALETTE = np.array(
    [
        (40, 40, 44),  # background
        (196, 78, 72),  # building
        (135, 190, 235),  # sky
        (46, 125, 60),  # vegetation
        (128, 124, 132),  # road
        (176, 186, 104),  # ground: grass, earth, field
        (44, 96, 196),  # water
        (232, 208, 142),  # sand
    ],
    dtype=np.uint8,
)
"""(8, 3) uint8, the colour of each class in every picture this project draws."""

LANDCOVER: tuple[str, ...] = ("tree", "building", "road", "other paved")
LANDCOVER_PALETTE = np.array([(46, 125, 60), (196, 78, 72), (128, 124, 132), (222, 190, 150)], dtype=np.uint8)
"""(4, 3) uint8, the colours of the land-cover classes of the position models."""

LANDCOVER_OF_CLASSES = np.array([255, 1, 255, 0, 2, 3, 255, 3], dtype=np.uint8)
"""(8,) land cover of each class: vegetation is tree, every open surface that is no road counts as other paved (the
world's labels do not tell paving from asphalt); background, sky and water are none (255)."""

ADE20K_GROUPS: dict[int, tuple[int, ...]] = {
    BUILDING: (1, 25, 48),
    SKY: (2,),
    VEGETATION: (4, 17),
    ROAD: (6, 11, 52),
    GROUND: (9, 13, 29, 94),
    WATER: (21, 26, 60, 128),
    SAND: (46,),
}
"""Class → 0-based ADE20K ids (0 wall … 149 flag), as the Hugging Face processors number them."""


def from_ade20k(labels: np.ndarray, zero_based: bool = True) -> np.ndarray:
    """Map ADE20K ids onto the 8 classes.

    Args:
        labels: integer array of any shape, ids 0–149 (with `zero_based=False`: 1–150, 0 = unlabelled, as in
            the original annotation PNGs; 255 is unlabelled in both).
        zero_based: how the ids are numbered.

    Returns:
        uint8 array of the same shape; every id in no group is background (0).
    """
    table = np.zeros(256, dtype=np.uint8)
    for target, sources in ADE20K_GROUPS.items():
        table[list(sources)] = target
    if not zero_based:
        table = np.concatenate([np.zeros(1, np.uint8), table[:-1]])
    return table[np.clip(labels, 0, 255).astype(np.uint8)]


def colourize(labels: np.ndarray, palette: np.ndarray = PALETTE) -> np.ndarray:
    """Paint an integer label map (…, H, W) with its palette: uint8 (…, H, W, 3)."""
    return palette[np.clip(labels, 0, len(palette) - 1)]


def label_colours(picture: np.ndarray, palette: np.ndarray = PALETTE) -> np.ndarray:
    """Read labels back from a painted picture uint8 (H, W, 3): the nearest palette colour of each pixel."""
    colours, inverse = np.unique(picture.reshape(-1, 3), axis=0, return_inverse=True)
    distance = ((colours[:, None].astype(np.int32) - palette[None].astype(np.int32)) ** 2).sum(-1)
    return distance.argmin(1).astype(np.uint8)[inverse.reshape(-1)].reshape(picture.shape[:2])
