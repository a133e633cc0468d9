"""SegFormer (Xie et al., NeurIPS 2021, https://arxiv.org/abs/2105.15203) for both views, on transformers.

Any checkpoint fine-tuned on ADE20K (`nvidia/segformer-b*-finetuned-ade-512-512`) names the eight classes: the
probabilities of its 150 labels are summed over the groups of `classes.ADE20K_GROUPS`; the rest is background.

| stage | B0 | B3 | small, trained on the world |
|---|---|---|---|
| input | (B, 3, H, W) in [0, 1] | the same | the same |
| strides 4, 8, 16, 32 | 32, 64, 160, 256 | 64, 128, 320, 512 | 24, 48, 96, 128 |
| blocks | 2, 2, 2, 2 | 3, 4, 18, 3 | 1, 1, 2, 1 |
| decoder | 256 | 768 | 96 |
| output | (B, labels, H, W) logits | the same | the same |

A SegFormer has no position encoding, only the zeros its convolutions are padded with. A full panorama is padded with
what lies beyond its seam instead, in every convolution and every enlargement: then turning the camera by 32 columns
turns the labels. Turns of a few columns move the picture on the grids of the stages, so it is first turned to where its
own light comes from [ours]; then any turn turns the labels.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xview_demo.classes import ADE20K_GROUPS, CLASSES
from xview_demo.errors import ModelError
from xview_demo.geometry import resize, roll_columns
from xview_demo.models.blocks import IMAGENET_MEAN, IMAGENET_STD, pad_azimuth
from xview_demo.models.hub import HubModel

ADE20K_LABELS = 150
STRIDE = 32  # columns by which a panorama can be turned without changing the grids of the stages
LICENCE = (
    "SegFormer checkpoints of NVIDIA are under the NVIDIA Source Code License for SegFormer: research and evaluation "
    "only, no commercial use (https://github.com/NVlabs/SegFormer/blob/master/LICENSE)."
)


class SeamConv2d(nn.Conv2d):
    """A convolution that can be circular in azimuth (width); parameters as `nn.Conv2d` has them."""

    wrap = False

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, O, H', W'), the same size whether it wraps or not."""
        if not self.wrap:
            return super().forward(x)
        rows, columns = (int(side) for side in self.padding)
        x = F.pad(pad_azimuth(x, columns), (0, 0, rows, rows))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class SegFormer(HubModel):
    """Logits of the eight classes, or of ADE20K's 150 labels, which `predict` folds into the eight.

    Args:
        view: what it is for: "ground", "aerial" or "both".
        labels: 8, or 150 for an ADE20K checkpoint.
        widths: channels of the four stages.
        depths: blocks of the four stages.
        heads: attention heads of the four stages.
        decoder: channels of the decoder.
        drop_path: largest rate at which blocks are skipped in training.
    """

    fold: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        view: str = "both",
        labels: int = len(CLASSES),
        widths: tuple[int, ...] = (24, 48, 96, 128),
        depths: tuple[int, ...] = (1, 1, 2, 1),
        heads: tuple[int, ...] = (1, 2, 4, 4),
        decoder: int = 96,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        from transformers import SegformerConfig, SegformerForSemanticSegmentation

        if view not in ("ground", "aerial", "both"):
            raise ValueError(f"view is {view!r}: use 'ground', 'aerial' or 'both'.")
        if labels not in (len(CLASSES), ADE20K_LABELS):
            raise ValueError(f"labels is {labels}: use {len(CLASSES)}, or {ADE20K_LABELS} for ADE20K.")
        self.view, self.labels = view, labels
        config = SegformerConfig(
            num_labels=labels, hidden_sizes=list(widths), depths=list(depths), num_attention_heads=list(heads),
            decoder_hidden_size=decoder, drop_path_rate=drop_path,
        )  # fmt: skip
        self.net = SegformerForSemanticSegmentation(config)
        self.seams = _with_seams(self.net)
        self.register_buffer("fold", folding() if labels == ADE20K_LABELS else torch.eye(labels), persistent=False)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    @classmethod
    def from_ade20k(
        cls, folder: str | os.PathLike[str], view: str = "both", notice: Callable[[str], Any] | None = None
    ) -> Self:
        """A checkpoint in transformers' layout (config.json, model.safetensors), in evaluation mode.

        Args:
            folder: of the checkpoint.
            view: what it will be used for.
            notice: is called with the licence before the weights are read; by default it goes to standard error.

        Raises:
            ModelError: another architecture, another number of labels, or weights that do not fit.
        """
        from transformers import SegformerConfig, SegformerForSemanticSegmentation

        (notice or _to_stderr)(licence_of(Path(folder)))
        try:
            config = SegformerConfig.from_pretrained(folder)
            net, report = SegformerForSemanticSegmentation.from_pretrained(
                folder, use_safetensors=True, local_files_only=True, output_loading_info=True, dtype=torch.float32
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(f"{folder} holds no SegFormer in safetensors: {' '.join(str(error).split())}") from error
        lacking = sorted(report["missing_keys"]) + sorted(str(key) for key in report["mismatched_keys"])
        if lacking:
            raise ModelError(f"The checkpoint in {folder} lacks {lacking[0]}: download it again.")
        if config.num_labels != ADE20K_LABELS:
            raise ModelError(
                f"The SegFormer in {folder} has {config.num_labels} labels, not the {ADE20K_LABELS} of ADE20K: "
                "take one whose name holds finetuned-ade."
            )
        model = cls(
            view, ADE20K_LABELS, tuple(config.hidden_sizes), tuple(config.depths), tuple(config.num_attention_heads),
            config.decoder_hidden_size, config.drop_path_rate,
        )  # fmt: skip
        model.net.load_state_dict(net.state_dict(), strict=True)
        return model.eval()

    def forward(self, image: Tensor, panorama: bool | None = None) -> Tensor:
        """(B, 3, H, W) in [0, 1] → logits (B, labels, H, W).

        Args:
            image: batch of pictures.
            panorama: whether the picture closes at ±180°; by default a model for ground views takes it so when it is
                evaluated.
        """
        wrap = (self.view == "ground" and not self.training) if panorama is None else panorama
        height, width = image.shape[-2:]
        if wrap:
            turned = brightest_column(image).double() * (360 / width)
            image = roll_columns(image, turned)
        if wrap and width % STRIDE:
            image = resize(image, height, max(STRIDE, round(width / STRIDE) * STRIDE), wrap=True)
        for conv in self.seams:
            conv.wrap = wrap
        stages = self.net.segformer((image - self.mean) / self.std, output_hidden_states=True).hidden_states
        if wrap:  # one column beyond the seam at the coarsest stage, as many as that spans at the others
            narrowest = stages[-1].shape[-1]
            margins = [stage.shape[-1] // narrowest for stage in stages]
            logits = self.net.decode_head([pad_azimuth(s, m) for s, m in zip(stages, margins, strict=True)])
            logits = logits[..., margins[0] - 1 : logits.shape[-1] - margins[0] + 1]
            step = image.shape[-1] // stages[0].shape[-1]
            logits = _enlarge(logits, height, image.shape[-1] + 2 * step)[..., step:-step]
            logits = logits if image.shape[-1] == width else resize(logits, height, width, wrap=True)
            return roll_columns(logits, -turned)
        return _enlarge(self.net.decode_head(stages), height, width)

    @torch.no_grad()
    def predict(self, image: Tensor, panorama: bool | None = None, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) → labels (B, H, W) uint8 and probabilities (B, 8, H, W).

        `rows`, the elevation that other segmenters want, is not needed: a SegFormer looks at the picture alone.
        """
        probabilities = self.folded(self(image, panorama).float().softmax(1))
        return probabilities.argmax(1).to(torch.uint8), probabilities

    def folded(self, probabilities: Tensor) -> Tensor:
        """Probabilities (B, labels, H, W) summed over the groups of labels: (B, 8, H, W)."""
        if self.labels == len(CLASSES):
            return probabilities
        return torch.einsum("kl,bl...->bk...", self.fold, probabilities)

    def for_classes(self) -> "SegFormer":
        """A copy that gives the eight classes: each starts as the mean of its labels, ready for fine-tuning."""
        if self.labels == len(CLASSES):
            return self
        config = self.net.config
        model = SegFormer(
            self.view, len(CLASSES), tuple(config.hidden_sizes), tuple(config.depths),
            tuple(config.num_attention_heads), config.decoder_hidden_size, config.drop_path_rate,
        )  # fmt: skip
        state = self.net.state_dict()
        share = self.fold / self.fold.sum(1, keepdim=True)
        for name in ("decode_head.classifier.weight", "decode_head.classifier.bias"):
            state[name] = torch.einsum("kl,l...->k...", share, state[name])
        model.net.load_state_dict(state, strict=True)
        return model.train(self.training)


def folding() -> Tensor:
    """(8, 150): 1 where an ADE20K label belongs to a class; every label belongs to exactly one."""
    table = torch.zeros(len(CLASSES), ADE20K_LABELS)
    for group, ids in ADE20K_GROUPS.items():
        table[group, list(ids)] = 1
    table[0] = 1 - table[1:].sum(0)
    return table


def licence_of(folder: Path) -> str:
    """What a checkpoint's own card says about its licence, and NVIDIA's terms."""
    card = folder / "README.md"
    lines = card.read_text(encoding="utf-8", errors="replace").splitlines()[:40] if card.is_file() else []
    stated = [line.strip() for line in lines if line.startswith(("license:", "license_name:", "license_link:"))]
    return f"{folder.name}: {'; '.join(stated) or 'its card states no licence'}. {LICENCE}"


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr)


def _with_seams(net: nn.Module) -> list[SeamConv2d]:
    """Give every padded convolution of a network the ability to wrap, keeping names and values; returns them."""
    found = []
    for parent in list(net.modules()):
        for name, conv in list(parent.named_children()):
            if isinstance(conv, nn.Conv2d) and any(int(side) for side in conv.padding):
                other = SeamConv2d(
                    conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation,  # type: ignore[arg-type]
                    conv.groups, conv.bias is not None, device=conv.weight.device,
                )  # fmt: skip
                other.load_state_dict(conv.state_dict())
                setattr(parent, name, other)
                found.append(other)
    return found


def brightest_column(image: Tensor) -> Tensor:
    """Columns (B,) about which panoramas (B, 3, H, W) are brightest: the phase of their brightness's first wave."""
    wave = torch.fft.rfft(image.mean((1, 2), dtype=torch.float64))[:, 1]
    width = image.shape[-1]
    return (-wave.angle() * (width / (2 * torch.pi))).round().long() % width


def _enlarge(logits: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(logits, (height, width), mode="bilinear", align_corners=False)
