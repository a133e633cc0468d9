"""The recipes of SegFormer, and of the U-Net that learns from a SegFormer's labels."""

from typing import Any

from train.cache import CacheConfig
from train.engine import Settings
from train.recipe import Recipe
from train.recipes_synthesis import PAIRS as CVUSA_PAIRS

PUBLISHED = "nvidia/segformer-b3-finetuned-ade-512-512"
EPOCHS, PAIRS = 60, 6720  # published epochs; labelled pairs of the training cache

PSEUDO: dict[str, Any] = {"crop": 160, "scale": 0.1, "colour": 0.2}

SEGFORMER: dict[str, Recipe] = {
    "segformer-world": Recipe(
        "segmentation of both views: small SegFormer",
        "segformer:SegFormerMethod",
        Settings(
            "segformer-world", steps=6000, batch=16, learning_rate=1e-3, weight_decay=0.01, restarts=(4000,),
            options={"settled": 4000},
        ),
        {"steps": 4, "batch": 4},
        compressed=True,
    ),
    "segformer-ade20k": Recipe(
        f"segmentation of both views: {PUBLISHED}, fine-tuned; cross-entropy, AdamW 3e-5, batch 6, 60 epochs",
        "segformer:SegFormerMethod",
        Settings(
            "segformer-ade20k", steps=EPOCHS * PAIRS // 6, batch=6, learning_rate=3e-5, weight_decay=0.01,
            options={
                "start": PUBLISHED, "dice": 0.0, "balance": 0.0, "schedule": "plateau", "epoch": PAIRS // 6,
            },
        ),
        {"steps": 2, "batch": 4, "options": {"dice": 0.0, "balance": 0.0, "schedule": "plateau", "epoch": 1}},
    ),
    "unet-pseudo-world": Recipe(
        "segmentation of aerial tiles: U-Net, ResNet-18, on the labels of segformer-world",
        "segformer:PseudoLabelMethod",
        Settings(
            "unet-pseudo-world", steps=6000, batch=16, learning_rate=1e-3, model={"view": "aerial"},
            options=PSEUDO | {"teacher": "segformer-world"},
        ),
        {"steps": 2, "batch": 2, "options": {"crop": 96, "teacher": "tiny"}},
    ),
}  # fmt: skip

PRESETS: dict[str, Recipe] = {
    "unet-pseudo-cvusa": Recipe(
        f"segmentation of aerial pictures: U-Net, ResNet-18 from ImageNet, on the labels of {PUBLISHED}; the source "
        "gives no further numbers",
        "segformer:PseudoLabelMethod",
        Settings(
            "unet-pseudo-cvusa", steps=EPOCHS * CVUSA_PAIRS // 16, batch=16, learning_rate=1e-4,
            model={"view": "aerial"}, options=PSEUDO | {"teacher": PUBLISHED, "imagenet": True},
        ),
        {
            "steps": 2, "batch": 2, "model": {"view": "aerial", "depth": 2, "channels": (8, 8)},
            "options": {"crop": 96, "teacher": "tiny"},
        },
        CacheConfig(height=128, width=512, tile_pixels=256, tile_metres=64.0, dense_every=1),
        data="cvusa",
    ),
}  # fmt: skip
