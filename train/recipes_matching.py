"""Presets for the public data sets: the modern recipe, and the source systems' matchers in their published sizes."""

from dataclasses import replace
from typing import Any

from train.cache import CacheConfig
from train.engine import Settings
from train.recipe import Recipe
from xview_demo.zoo import get

PAIRS = {"cvusa": 35_532, "cvact": 35_532, "vigor": 52_609}  # of the training lists; VIGOR's same-area one
GROUND = {"cvusa": (140, 768), "cvact": (140, 768), "vigor": (384, 768)}  # rows and columns, Sample4Geo's
PICTURES = CacheConfig(height=256, width=1024, tile_pixels=384, tile_metres=64.0, dense_every=1)
BATCH, EPOCHS = 128, 40


def _modern(data: str) -> Recipe:
    """Sample4Geo's numbers (ICCV 2023, section 4)."""
    name, steps = f"dual-encoder-{data}", EPOCHS * PAIRS[data] // BATCH
    model = {"ground_size": GROUND[data]}
    options = {"pretrained": True, "checkpointing": True, "precision": "bf16", "refresh": 4 * PAIRS[data] // BATCH}
    settings = Settings(
        name, steps=steps, batch=BATCH, learning_rate=1e-3, weight_decay=0.01, warmup=1 / EPOCHS, average=0.0,
        model=model, options=options,
    )  # fmt: skip
    small = {"pretrained": False, "checkpointing": False, "precision": "no", "refresh": 2, "neighbours": 2}
    smoke = {"steps": 3, "batch": 4, "model": get("dual-encoder-cvusa").tiny, "options": small}
    summary = f"matching on {data.upper()}: shared ConvNeXt-B, InfoNCE, hard negatives (any backbone of timm)"
    return Recipe(summary, "dual:DualMethod", settings, smoke, PICTURES, data=data)


def _published(
    name: str, method: str, source: str, batch: int, epochs: int, rate: float, *, on: dict[str, str] | None = None,
    model: dict[str, Any] | None = None, **options: Any,
) -> Recipe:  # fmt: skip
    """A matcher of the source systems in its published size; pictures of the query are made by the bundled models.

    `on`: the option that names the trained network that it builds on → which matcher that is.
    """
    earlier = {option: f"{matcher}-cvusa" for option, matcher in (on or {}).items()}
    settings = Settings(
        f"{name}-cvusa", steps=epochs * PAIRS["cvusa"] // batch, batch=batch, learning_rate=rate, weight_decay=0.0,
        average=0.0, model=model or {}, options=PLAIN | earlier | options,
    )  # fmt: skip
    entry = get(f"{name}-world")
    tiny = {option: f"{matcher}-world" for option, matcher in (on or {}).items()}
    smoke = {
        "steps": 3, "batch": 2, "model": {key: value for key, value in entry.tiny.items() if key != "joint"},
        "options": settings.options | {"size": 32, "helpers": "tiny", "imagenet": False} | tiny,
    }  # fmt: skip
    after = "".join(f", after {run}" for run in earlier.values())
    summary = f"matching on CVUSA: {entry.summary}, as published ({source}){after}"
    return Recipe(summary, f"ladder:{method}", settings, smoke, replace(PICTURES, tile_pixels=512), data="cvusa")


# Pairs as they are: what the options below do not change.
PLAIN: dict[str, Any] = {
    "worlds": 1, "size": 256, "reduce": 1, "offset": 0.0, "scale": 0.0, "turn": False, "colour": 0.0,
}  # fmt: skip
REGMI = "Regmi & Shah, ICCV 2019"
# Their augmentation, of what is seen from above alone: a quarter turn and a central crop. How small, they do not say;
# 512 of the 750 pixels of CVUSA's side is our choice.
ABOVE: dict[str, Any] = {"turn": True, "together": False, "crop": 512 / 750}
# Documents 000 and 001 name no augmentation: aligned pairs without any is our choice. Their encoders are ImageNet's.
MATCHING_PRESETS: dict[str, Recipe] = {
    **{f"dual-encoder-{data}": _modern(data) for data in PAIRS},
    "two-stream-cvusa": _published("two-stream", "TwoStreamMethod", REGMI, 30, 100, 1e-5, **ABOVE),
    "two-stream-synthetic-cvusa": _published(
        "two-stream-synthetic", "TwoStreamMethod", REGMI, 30, 100, 1e-5, model={"query": "synthetic"}, **ABOVE
    ),
    "joint-feature-cvusa": _published(
        "joint-feature", "JointFeatureMethod", REGMI, 24, 100, 1e-5, on={"start": "two-stream"}, **ABOVE
    ),
    # on features of the pairs as they are, exported once: that they are stored is all that the source says of them
    "feature-fusion-cvusa": _published(
        "feature-fusion", "FeatureFusionMethod", REGMI, 100, 500, 1e-5, on={"joint": "joint-feature"}, dropout=False
    ),
    "joint-fusion-vgg-cvusa": _published(
        "joint-fusion-vgg", "JointFusionVGGMethod", "document 000", 8, 50, 1e-4, imagenet=True
    ),
    "gasc-fusion-cvusa": _published(  # 1e-4 for the encoders
        "gasc-fusion", "GascFusionMethod", "document 001", 8, 50, 1e-3, slow=0.1, imagenet=True
    ),
}
