"""`python -m train import-geowarp FE.pth HR.pth --out DIR`: the authors' GeoWarp checkpoints as a model of this zoo.

Both files are state dicts (https://github.com/gmberton/geo_warp). The feature extractor's names are `encoder.<i>.…`
and `pool.1.p` (GeM) or `pool.conv.weight`, `pool.centroids` (NetVLAD); the homography regressor's `conv.<i>.…` and
`linear.…`. Backbone, pooling and widths are read off the tensors; nothing may be missing or left over.
"""

import argparse
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from xview_demo.errors import ModelError, XViewError
from xview_demo.models.reranking.features import CHANNELS
from xview_demo.models.reranking.geowarp import KERNELS, GeoWarp

FIRST_KERNEL = {11: "alexnet", 3: "vgg16", 7: "resnet50"}  # side of the first convolution
FIRST_CHANNELS = 64  # of every backbone, as published
WRAPPERS = ("module.", "features_extractor.", "homography_regression.")


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, without the prefixes that wrappers add; nothing in it is executed.

    Raises:
        ModelError: no file, something else than tensors, or no state dict.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(f"There is no file {path}: give the path of a downloaded checkpoint.") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ModelError(f"{path} is no file of plain tensors ({reason}): give a state dict.") from None
    for key in ("state_dict", "model_state_dict"):
        content = content[key] if isinstance(content, dict) and isinstance(content.get(key), dict) else content
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise ModelError(f"{path} holds no state dict: save `model.state_dict()` with torch.save.")
    return {_unwrapped(name): value for name, value in content.items()}


def _unwrapped(name: str) -> str:
    while wrapper := next((w for w in WRAPPERS if name.startswith(w)), None):
        name = name.removeprefix(wrapper)
    return name


def import_geowarp(features: Path, regressor: Path, out: Path, size: tuple[int, int] = (480, 640)) -> GeoWarp:
    """Read both checkpoints and write one model folder in single precision.

    Args:
        features: state dict of the feature extractor.
        regressor: state dict of the homography regression.
        out: folder for `config.json` and `model.safetensors`.
        size: (height, width) in pixels to which photographs are brought; the authors' data has 480 × 640.

    Raises:
        ModelError: a file that is not what its name says; tensors missing, surplus or of another shape.
    """
    extractor, corners = read_state(features), read_state(regressor)
    first = extractor.get("encoder.0.weight")
    backbone = None if first is None or first.dim() != 4 else FIRST_KERNEL.get(first.shape[-1])
    if backbone is None or first is None:
        raise ModelError(f"{features} is no feature extractor of {', '.join(CHANNELS)}: encoder.0.weight is missing.")
    widths = [corners.get(f"conv.{3 * i}.weight") for i in range(len(KERNELS))]
    if any(w is None for w in widths):
        raise ModelError(f"{regressor} is no homography regression: a conv.<3i>.weight of {len(KERNELS)} is missing.")
    model = GeoWarp(
        backbone,
        "netvlad" if "pool.centroids" in extractor else "gem",
        width=first.shape[0] / FIRST_CHANNELS,
        channels=[len(w) for w in widths if w is not None],
        size=size,
        single=True,
    )
    state = {f"extractor.{name}": value for name, value in extractor.items()}
    state |= {f"regressor.{name}": value for name, value in corners.items()}
    try:
        model.load_state_dict({**state, "temperature": model.temperature}, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:400]
        raise ModelError(f"{features} and {regressor} do not fit GeoWarp: {reason}") from None
    model.eval().save_pretrained(out)
    return model


def main(arguments: Sequence[str]) -> int:
    """The command line of the import."""
    p = argparse.ArgumentParser(prog="python -m train import-geowarp", description=__doc__)
    p.add_argument("features", type=Path, metavar="FE.pth", help="state dict of the feature extractor")
    p.add_argument("regressor", type=Path, metavar="HR.pth", help="state dict of the homography regression")
    p.add_argument("--out", type=Path, required=True, help="folder of the model")
    p.add_argument("--height", type=int, default=480, help="pixels to which photographs are brought (default 480)")
    p.add_argument("--width", type=int, default=640, help="likewise (default 640)")
    args = p.parse_args(arguments)
    try:
        model = import_geowarp(args.features, args.regressor, args.out, (args.height, args.width))
    except XViewError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{model.backbone} with {model.pooling}: {args.out}")
    return 0
