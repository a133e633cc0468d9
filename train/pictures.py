"""What other models make of each panorama of a cache, made once and kept beside it: synthetic views and their classes.

Row i belongs to sample i of the cache: they are paired by number, never by the order of files.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from train.data import images
from train.engine import autocast
from xview_demo import zoo
from xview_demo.composed import SEGMENTATION, SYNTHESIS, Composed, composed
from xview_demo.models.matching.aligned import resized

PART = 16  # samples between two marks of progress


def tiny_model(name: str) -> nn.Module:
    """A tiny version of a model of the zoo, its weights random but always the same: for smoke runs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        entry = zoo.get(name)
        return entry.load_class()(**entry.tiny).eval()


def with_helpers(matcher: nn.Module | None, tiny: bool) -> Composed:
    """A matcher with the bundled synthesis and aerial segmentation, or with tiny random ones."""
    helpers = [tiny_model(name) if tiny else name for name in (SYNTHESIS, SEGMENTATION)]
    return composed(matcher, *helpers)


def fingerprint(*models: nn.Module) -> str:
    """Twelve hexadecimal digits that change with any weight, and with how strongly a painter paints."""
    digest = hashlib.sha256()
    for model in models:
        config = getattr(model, "_hub_mixin_config", None) or {}
        digest.update(json.dumps(config, sort_keys=True, default=str).encode())
        for name, value in sorted(model.state_dict().items()):
            digest.update(name.encode() + value.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()[:12]


@torch.inference_mode()
def pictures(cache: Any, helpers: Composed, needs: Sequence[str], size: int) -> dict[str, np.ndarray]:
    """The pictures of `needs` of every sample, (N, size, size, 3) uint8 memory maps by name, made where missing.

    The panoramas look north, so north is up. A run that is interrupted goes on where it stopped.

    Raises:
        ModelError: a helper's weights are not here; the message says how to make them.
    """
    if not needs:
        return {}
    models = [helpers.synthesis()] + ([helpers.segmentation()] if "segmentation" in needs else [])
    folder = cache.folder / f"made-{size}-{'-'.join(needs)}-{fingerprint(*models)}"
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {kind: open_array(folder / f"{kind}.npy", (len(cache["ground"]), size, size, 3)) for kind in needs}
    for rows in unfinished(cache, folder, "pictures"):
        with autocast():  # halves the time; of the classes, 99.5 % are the same
            made = helpers.pictures(needs, images(cache["ground"], rows))
        for kind, image in made.items():
            small = resized(image, size, size).permute(0, 2, 3, 1)
            arrays[kind][rows] = (small * 255 + 0.5).clamp(0, 255).byte().numpy()
    return arrays


def unfinished(cache: Any, folder: Path, called: str) -> Iterator[np.ndarray]:
    """The samples of a cache of which nothing is in a folder yet, part by part; each is marked once it is made."""
    samples = len(cache["ground"])
    done = open_array(folder / "done.npy", (-(-samples // PART),))
    wanted = sorted({int(row) // PART for row in cache.samples()})
    for part in tqdm([p for p in wanted if not done[p]], unit="part", desc=called, disable=None):
        yield np.arange(part * PART, min(samples, (part + 1) * PART))
        done[part] = 1


def open_array(path: Path, shape: tuple[int, ...], kind: str = "uint8") -> np.ndarray:
    """A memory map of a `.npy` file, of zeros where there was none."""
    if path.is_file():
        return np.lib.format.open_memmap(path, mode="r+")
    return np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape)
