"""The recipes of the generators: small ones on the world, and presets with the published numbers on CVUSA."""

from typing import Any

from train.cache import DENSE, CacheConfig
from train.engine import Settings
from train.recipe import Recipe
from xview_demo.zoo import get

SMALL: dict[str, Any] = {"size": 128, "width": 32, "dropout": 0.0, "bird_eye": True, "classes": 8}
RAYS = SMALL | {"rays": 16}
NARROW = RAYS | {"width": 24}
PAINTER = {"painted": True, "grain": 0.5}  # the grain was chosen on validation worlds, as strengths below
PAINTED = {"segmentation": 10.0, "adversarial": 4.0}  # of a painter's class discriminator
LATE = {"segmentation": 10.0, "adversarial": 10.0, "alone": True}  # of a painter that waits for its sketch
GAN: dict[str, Any] = {"batch": 16, "learning_rate": 2e-4}
SWIFT: dict[str, Any] = {"batch": 16, "learning_rate": 4e-4}  # where nothing is judged at first
DIFFUSION: dict[str, Any] = {
    "size": 128, "hidden": 256, "tokens": 0, "bird_eye": True, "rays": 16, "prediction": "v_prediction",
    "steps": 2,  # chosen on validation worlds: with 25, every measure is worse
    "guidance": 4.0,  # chosen on validation worlds: without, the picture hardly shows the place
    "unet": {
        "block_out_channels": [48, 96, 128], "layers_per_block": 1, "norm_num_groups": 16, "sample_size": 32,
        "down_block_types": ["DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"], "cross_attention_dim": 128,
        "attention_head_dim": 4,
    },
    "vae": {
        "block_out_channels": [24, 48, 96], "layers_per_block": 1, "norm_num_groups": 8, "sample_size": 128,
        "down_block_types": ["DownEncoderBlock2D"] * 3, "up_block_types": ["UpDecoderBlock2D"] * 3,
        "mid_block_add_attention": False,
    },
    "vision": {
        "hidden_size": 192, "intermediate_size": 384, "projection_dim": 128, "num_hidden_layers": 4,
        "num_attention_heads": 3, "image_size": 128, "patch_size": 16,
    },
}  # fmt: skip


def _smoke(**options: Any) -> dict[str, Any]:
    """Settings of the one-minute version: four steps."""
    return {"steps": 4, "batch": 2, **({"options": options} if options else {})}


SYNTHESIS: dict[str, Recipe] = {
    "xfork-world": Recipe(
        "synthesis: X-Fork with the bird's-eye view as a second input",
        "synthesis:GanMethod",
        Settings(
            "xfork-world", steps=3200, **SWIFT, model=RAYS | PAINTER | {"trunk": True, "strength": 0.3},
            options=LATE
            | {"narrow": 0.4, "structure": 20.0, "finish": 2200, "beside": 2200, "reader": 800, "reading": 40.0},
        ),
        _smoke(discriminator=8, structure=20.0, finish=2, beside=3, reader=2),
        DENSE,
        compressed=True,
    ),
    "xfork-edges-world": Recipe(
        "synthesis: X-Fork with Canny edges as a fourth channel",
        "synthesis:GanMethod",
        Settings(
            "xfork-edges-world", steps=3400, **GAN, model=NARROW | PAINTER | {"edges": True},
            options=PAINTED | {"finish": 2000},
        ),
        _smoke(),
        compressed=True,
    ),
    "xseq-world": Recipe(
        "synthesis: X-Seq, two generators in sequence",
        "synthesis:GanMethod",
        Settings(
            "xseq-world", steps=1600, **SWIFT, model=NARROW | PAINTER | {"trunk": True},
            options=LATE | {"family": "xseq", "finish": 900},
        ),
        _smoke(family="xseq", discriminator=8),
        DENSE,
        compressed=True,
    ),
    "pix2pix-world": Recipe(
        "synthesis: pix2pix, the panorama alone in and the aerial view alone out",
        "synthesis:GanMethod",
        Settings(
            # .998 lags behind so brief a painter
            "pix2pix-world", steps=1840, **SWIFT, average=0.99,
            model=NARROW | PAINTER | {"width": 20, "trunk": True, "heads": ["image"], "classes": None, "strength": 0.4},
            options={"adversarial": 8.0, "alone": True, "finish": 1100, "joint": 1100},
        ),
        _smoke(discriminator=8, finish=2, joint=3),
        DENSE,
        compressed=True,
    ),
    "xfork-ground-world": Recipe(
        "synthesis: X-Fork from a tile to the panorama",
        "synthesis:GanMethod",
        Settings(
            "xfork-ground-world", steps=1200, **GAN, model=SMALL | PAINTER | {"reads": "aerial", "draws": "ground"},
            options=PAINTED,
        ),
        _smoke(),
        compressed=True,
    ),
    "rgbds-world": Recipe(
        "synthesis: RGBDS, a Swin transformer over colour, depth and classes",
        "synthesis:GanMethod",
        Settings(
            "rgbds-world", steps=4450, **SWIFT,
            model={
                "size": 128, "width": 32, "bird_eye": True, "rays": 16, "painted": True,
                "swin": {"embed_dim": 48, "depths": [2, 2, 4, 2], "num_heads": [3, 6, 12, 24], "window_size": 4},
            },
            options=LATE
            | {
                "family": "rgbds", "dice": 1.0, "finish": 3200, "beside": 3200, "reader": 1000, "reading": 60.0,
                "estimated": 0.5,
            },
        ),
        _smoke(family="rgbds", discriminator=8, finish=2, beside=3, reader=2, estimated=0.5),
        DENSE,
        compressed=True,
    ),
    "clip-diffusion-world": Recipe(
        "synthesis: latent diffusion; its autoencoder and vision tower are trained first, in the same run",
        "diffusion:DiffusionMethod",
        Settings(
            "clip-diffusion-world", steps=7200, batch=16, learning_rate=4e-4, weight_decay=0.01, average=0.99,
            model=DIFFUSION | {"painted": True, "strength": 0.7}, restarts=(3900,),
            options={"first": 0.1235, "finish": 6000, "noisy": 2.0, "reading": 60.0},
        ),
        _smoke(first=0.5, crop=32, finish=3, discriminator=8, reading=60.0),
        DENSE,
        compressed=True,
    ),
}  # fmt: skip

PAIRS = 35_532  # of CVUSA's training list
CVUSA = CacheConfig(height=256, width=1024, tile_pixels=512, tile_metres=64.0, dense_every=1)
PUBLISHED: dict[str, Any] = {"discriminator": 64, "colour": 0.0, "turn": False, "schedule": "constant"}
REVERSE = {"reads": "aerial", "draws": "ground"}
TINY: dict[str, Any] = {"size": 32, "width": 8}


def _preset(
    name: str, summary: str, model: dict[str, Any], options: dict[str, Any], *, epochs: int, batch: int = 4,
    rate: float = 2e-4, method: str = "synthesis:GanMethod", decay: float = 0.0, tiny: dict[str, Any] = TINY,
) -> Recipe:  # fmt: skip
    """A recipe with the published numbers; without a running average of the weights, as published."""
    options = PUBLISHED | options
    settings = Settings(
        name, steps=epochs * PAIRS // batch, batch=batch, learning_rate=rate, model=model, options=options,
        weight_decay=decay, average=0.0,
    )  # fmt: skip
    untrained = {key: False for key in ("imagenet", "diffusion", "vision") if key in options}
    tiny = tiny | ({"size": 64} if model.get("draws") == "ground" else {})  # a strip half as high must be judged
    smoke = {"steps": 3, "batch": 2, "model": model | tiny, "options": options | untrained | {"discriminator": 8}}
    return Recipe(summary, method, settings, smoke, CVUSA, data="cvusa")


PRESETS: dict[str, Recipe] = {
    "xfork-cvusa": _preset(
        "xfork-cvusa", "X-Fork, panorama to aerial, as published", {}, {"segmentation": 1.0}, epochs=100,
    ),
    "xfork-edges-cvusa": _preset(
        "xfork-edges-cvusa", "X-Fork with edges, as published", {"edges": True}, {"segmentation": 1.0}, epochs=100,
        batch=16,
    ),
    "xfork-ground-cvusa": _preset(
        "xfork-ground-cvusa", "X-Fork, aerial to panorama, as published", REVERSE, {"segmentation": 10.0}, epochs=30,
    ),
    "xseq-cvusa": _preset(
        "xseq-cvusa", "X-Seq, as published", {}, {"family": "xseq", "conditional": True, "segmentation": 100.0},
        epochs=100,
    ),
    "xseq-ground-cvusa": _preset(
        "xseq-ground-cvusa", "X-Seq, aerial to panorama", REVERSE,
        {"family": "xseq", "conditional": True, "segmentation": 100.0}, epochs=30,
    ),
    "pix2pix-cvusa": _preset(
        "pix2pix-cvusa", "pix2pix, as published", {"heads": ["image"]}, {"conditional": True}, epochs=100,
    ),
    "rgbds-cvusa": _preset(
        "rgbds-cvusa", "RGBDS from ImageNet weights; depth and classes are estimated", {},
        {"family": "rgbds", "imagenet": True, "wear": 0.0}, epochs=100, batch=16,
        tiny=get("rgbds-world").tiny | {"bird_eye": False, "rays": 0, "painted": False},
    ),
    "clip-diffusion-cvusa": _preset(
        "clip-diffusion-cvusa", "latent diffusion from Stable Diffusion 1.4 and CLIP ViT-B/32, as published", {},
        {
            "diffusion": "CompVis/stable-diffusion-v1-4", "vision": "openai/clip-vit-base-patch32", "first": 0.0,
            "decoded": 8, "drop": 0.0, "schedule": "plateau", "epoch": PAIRS // 8,
        },
        epochs=50, batch=8, rate=1e-5, method="diffusion:DiffusionMethod", decay=0.01,
        tiny=get("clip-diffusion-world").tiny | {"bird_eye": False, "tokens": 77, "painted": False},
    ),
}  # fmt: skip
