"""The models, one entry each: task, class, summary, where its weights are. `zoo` finds and loads them."""

from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

TASKS = ("matching", "synthesis", "segmentation", "depth", "places", "position")


@dataclass(frozen=True)
class Entry:
    """One model of the zoo."""

    task: str  # one of TASKS
    home: str  # module below xview_demo.models, and class
    summary: str
    view: str = "ground"  # what it reads: "ground", "aerial" or "both"
    learned: bool = True  # False: geometry only, no weights
    repository: str | None = None  # on the Hub; None = bundled only
    revision: str | None = None  # commit the repository is pinned to
    tiny: dict[str, Any] = field(default_factory=dict)  # keywords of a small version, for tests

    def load_class(self) -> type:
        """The model's class."""
        module, name = self.home.split(":")
        return getattr(import_module(f"xview_demo.models.{module}"), name)


def _geowarp(backbone: str, pooling: str, called: str) -> Entry:
    tiny = {"backbone": backbone, "pooling": pooling, "width": 0.0625, "channels": (8,) * 6, "size": (64, 96)}
    return Entry("places", "reranking.geowarp:GeoWarp", f"photograph to photograph: {called}, then GeoWarp", tiny=tiny)


TINY_RGBDS: dict[str, Any] = {
    "size": 64, "width": 8, "bird_eye": True, "rays": 2, "painted": True,
    "swin": {"embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 2, 2), "window_size": 4},
}  # fmt: skip
TINY_DIFFUSION: dict[str, Any] = {
    "size": 32, "hidden": 16, "tokens": 0, "bird_eye": True, "rays": 2, "steps": 2, "prediction": "v_prediction",
    "painted": True,
    "unet": {
        "block_out_channels": [8, 16], "layers_per_block": 1, "norm_num_groups": 4, "sample_size": 8,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"], "cross_attention_dim": 16, "attention_head_dim": 2,
    },
    "vae": {
        "block_out_channels": [8, 8, 16], "layers_per_block": 1, "norm_num_groups": 4, "sample_size": 32,
        "down_block_types": ["DownEncoderBlock2D"] * 3, "up_block_types": ["UpDecoderBlock2D"] * 3,
    },
    "vision": {
        "hidden_size": 16, "intermediate_size": 32, "projection_dim": 8, "num_hidden_layers": 1,
        "num_attention_heads": 2, "image_size": 32, "patch_size": 8,
    },
}  # fmt: skip

TINY_STREAMS: dict[str, Any] = {
    "channels": (8, 8, 8, 8), "features": 16, "aerial_size": 32, "ground_size": (16, 64), "turns": 4,
}  # fmt: skip
TINY_VGG: dict[str, Any] = {
    "layers": (8, "M", 8, "M", 16, "M"), "batch_norm": True, "features": 16, "aerial_size": 32,
    "ground_size": (16, 64), "turns": 4,
}  # fmt: skip


def _ladder(home: str, summary: str, tiny: dict[str, Any]) -> Entry:
    return Entry("matching", f"matching.{home}", summary, view="both", tiny=tiny)


LADDER: dict[str, Entry] = {
    "two-stream-world": _ladder("two_stream:TwoStream", "two streams, panorama and tile", TINY_STREAMS),
    "two-stream-synthetic-world": _ladder(
        "two_stream:TwoStream", "two streams, synthetic aerial view and tile", TINY_STREAMS | {"query": "synthetic"}
    ),
    "joint-feature-world": _ladder(
        "joint_feature:JointFeature", "joint features of panorama, tile and synthetic view", TINY_STREAMS
    ),
    "feature-fusion-world": _ladder(
        "feature_fusion:FeatureFusion", "panorama and synthetic view fused, on frozen joint features",
        {"joint": TINY_STREAMS, "features": 16, "turns": 4},
    ),
    "joint-fusion-vgg-world": _ladder(
        "joint_fusion_vgg:JointFusionVGG", "panorama, synthetic view and its classes fused by a 1×1 convolution",
        TINY_VGG,
    ),
    "gasc-fusion-world": _ladder(
        "gasc_fusion:GascFusion", "panorama, synthetic view and its classes fused by a network", TINY_VGG
    ),
}  # fmt: skip

TINY_SEGFORMER: dict[str, Any] = {
    "widths": (8, 8, 16, 16),
    "depths": (1, 1, 1, 1),
    "heads": (1, 1, 2, 2),
    "decoder": 16,
}

ZOO: dict[str, Entry] = {
    "azimuth-world": Entry(
        "matching",
        "matching.azimuth:AzimuthMatcher",
        "azimuth-structured descriptors; heading by circular correlation",
        view="both",
        tiny={"channels": 4, "widths": (8, 8, 16, 16)},
    ),
    "azimuth-verifier-world": Entry(
        "matching",
        "matching.azimuth_verifier:AzimuthVerifier",
        "panorama and tile seen together by one network; judges what azimuth-world finds",
        view="both",
        tiny={"widths": (8, 8, 16, 16), "squeezed": 8, "hidden": 8, "headings": 4},
    ),
    "bird-eye-correlation": Entry(
        "matching",
        "matching.bird_eye_correlation:BirdEyeCorrelation",
        "the bird's-eye view laid over the tile, colour contrasts correlated; no weights",
        view="both",
        learned=False,
    ),
    "bird-eye-features-world": Entry(
        "matching",
        "matching.bird_eye_features:BirdEyeFeatures",
        "the bird's-eye view laid over the tile, learned features correlated",
        view="both",
        tiny={"width": 8, "maps": 4, "resolution": 1.6},
    ),
    **LADDER,
    "dual-encoder-cvusa": Entry(
        "matching",
        "matching.dual_encoder:DualEncoder",
        "one backbone of timm for both views, trained on CVUSA",
        view="both",
        tiny={"backbone": "resnet10t", "aerial_size": 64, "ground_size": (32, 128), "turns": 4},
    ),
    "xfork-world": Entry(
        "synthesis",
        "synthesis.xfork:XForkGenerator",
        "X-Fork that also sees the bird's-eye view and each column's ray, and paints upon the classes that it finds",
        tiny={"size": 32, "width": 8, "bird_eye": True, "classes": 8, "rays": 4, "painted": True},
    ),
    "xfork-edges-world": Entry(
        "synthesis",
        "synthesis.xfork:XForkGenerator",
        "X-Fork with Canny edges as a fourth channel and the bird's-eye view; aerial view and its classes",
        tiny={"size": 32, "width": 8, "bird_eye": True, "classes": 8, "edges": True, "painted": True},
    ),
    "xseq-world": Entry(
        "synthesis",
        "synthesis.xseq:XSeqGenerator",
        "X-Seq: one generator draws the aerial view, a second segments it",
        tiny={"size": 32, "width": 8, "bird_eye": True, "classes": 8, "rays": 2, "trunk": True, "painted": True},
    ),
    "pix2pix-world": Entry(
        "synthesis",
        "synthesis.xfork:XForkGenerator",
        "pix2pix, the baseline of X-Fork and X-Seq: the panorama alone in, the aerial view alone out",
        tiny={"size": 32, "width": 8, "bird_eye": True, "rays": 2, "trunk": True, "heads": ("image",), "painted": True},
    ),
    "rgbds-world": Entry(
        "synthesis",
        "synthesis.rgbds:RGBDSGenerator",
        "Swin transformer over colour, depth and classes of the panorama; aerial view",
        tiny=TINY_RGBDS,
    ),
    "clip-diffusion-world": Entry(
        "synthesis",
        "synthesis.clip_diffusion:ClipDiffusion",
        "latent diffusion led by a vision tower's tokens and the bird's-eye view; another aerial view for each seed",
        tiny=TINY_DIFFUSION,
    ),
    "xfork-ground-world": Entry(
        "synthesis",
        "synthesis.xfork:XForkGenerator",
        "X-Fork the other way: an aerial tile in, the panorama from its centre and its classes out",
        view="aerial",
        tiny={
            "size": 64,
            "width": 8,
            "bird_eye": True,
            "classes": 8,
            "reads": "aerial",
            "draws": "ground",
            "painted": True,
        },
    ),
    "bird-eye": Entry(
        "synthesis", "synthesis.bird_eye:BirdEye", "the panorama projected onto the ground; no weights", learned=False
    ),
    "street-eye": Entry(
        "synthesis",
        "synthesis.street_eye:StreetEye",
        "the ground of an aerial tile as a panorama shows it; no weights",
        view="aerial",
        learned=False,
    ),
    "unet-ground-world": Entry(
        "segmentation",
        "segmentation.unet:UNetSegmenter",
        "U-Net, ResNet-18: the eight classes in street-level views",
        tiny={"view": "ground", "channels": (16, 16, 8, 8)},
    ),
    "unet-aerial-world": Entry(
        "segmentation",
        "segmentation.unet:UNetSegmenter",
        "U-Net, ResNet-18: the eight classes in aerial views",
        view="aerial",
        tiny={"view": "aerial", "channels": (16, 16, 8, 8)},
    ),
    "segformer-world": Entry(
        "segmentation",
        "segmentation.segformer:SegFormer",
        "small SegFormer: the eight classes in street-level and aerial views",
        view="both",
        tiny=TINY_SEGFORMER,
    ),
    "segformer-ade20k": Entry(
        "segmentation",
        "segmentation.segformer:SegFormer",
        "SegFormer-B3 of ADE20K, fine-tuned on the eight classes; research and evaluation only",
        view="both",
        tiny=TINY_SEGFORMER,
    ),
    "unet-pseudo-world": Entry(
        "segmentation",
        "segmentation.unet:UNetSegmenter",
        "U-Net, ResNet-18: the eight classes in aerial views, learned from a SegFormer's labels",
        view="aerial",
        tiny={"view": "aerial", "channels": (16, 16, 8, 8)},
    ),
    "depth-world": Entry(
        "depth",
        "depth.unet:UNetDepth",
        "U-Net, ResNet-18: metres along the ray in street-level views",
        tiny={"channels": (16, 16, 8, 8)},
    ),
    "mst-world": Entry(
        "position",
        "position.mst:MST",
        "multi-scale transformer: land cover of a tile, and where in it a panorama was taken",
        view="both",
        tiny={
            "size": 64,
            "embed": 16,
            "depths": (1, 1, 1, 1),
            "heads": (1, 2, 4, 8),
            "group": 4,
            "overhead": 8,
            "rings": 6,
            "vector": 8,
            "detail": (16, 8),
            "halved": True,
        },
    ),
    "featup-world": Entry(
        "position",
        "position.featup:FeatUp",
        "backbone and joint bilateral upsampler: land cover of a tile, and where in it a panorama was taken",
        view="both",
        tiny={
            "size": 64,
            "backbone": "resnet10t",
            "index": 1,
            "frozen": False,
            "channels": 8,
            "factor": 2,
            "hidden": 16,
            "overhead": 8,
            "rings": 6,
            "vector": 8,
            "detail": (16, 8),
            "halved": True,
        },
    ),
    "geowarp-alexnet-gem-world": _geowarp("alexnet", "gem", "AlexNet with GeM"),
    "geowarp-alexnet-netvlad-world": _geowarp("alexnet", "netvlad", "AlexNet with NetVLAD"),
    "geowarp-vgg16-gem-world": _geowarp("vgg16", "gem", "VGG16 with GeM"),
    "geowarp-vgg16-netvlad-world": _geowarp("vgg16", "netvlad", "VGG16 with NetVLAD"),
    "geowarp-resnet50-gem-world": _geowarp("resnet50", "gem", "ResNet-50 with GeM"),
    "geowarp-resnet50-netvlad-world": _geowarp("resnet50", "netvlad", "ResNet-50 with NetVLAD"),
}
