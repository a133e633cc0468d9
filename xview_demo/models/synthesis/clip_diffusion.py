"""CLIP → latent diffusion: a Stable Diffusion U-Net whose text tokens are the image tokens of a CLIP vision tower.

Latent diffusion: Rombach et al., CVPR 2022 (https://arxiv.org/abs/2112.10752); CLIP: Radford et al., ICML 2021
(https://arxiv.org/abs/2103.00020). One class, two sizes by configuration:

| stage | published (size 256) | bundled (size 128, bird's eye) |
|---|---|---|
| strip, its halves one over the other | (B, 3, 224, 224) | (B, 3, 128, 128) |
| vision tower (frozen) | ViT-B/32 → (B, 512) | ViT, 4 layers of 192 → (B, 65, 192) |
| tokens | 512 → 1024 → ReLU → 768, 77 times | 192 → 256 → ReLU → 128, of each patch |
| autoencoder (frozen) | (B, 4, 32, 32) · 0.18215 | (B, 4, 32, 32) · 1 / their spread |
| U-Net, cross-attention to the tokens | 320, 640, 1280, 1280 | 48, 96, 128 |
| decoded | (B, 3, 256, 256) | (B, 3, 128, 128) |
| labelled, upon the bird's eye, the rays and what is decoded | | (B, 8, 128, 128) |
| painted over upon the labels, with the bird's eye's fine detail | | (B, 3, 128, 128) |

The published parts are `CompVis/stable-diffusion-v1-4` (or `stable-diffusion-v1-5/stable-diffusion-v1-5`) and
`openai/clip-vit-base-patch32`, see `ClipDiffusion.from_stable_diffusion`. Training and sampling are conditioned by the
same method, `condition`. Ours: the halves of the strip (a crop of its middle would see 90°), patch tokens, further
input channels of the U-Net (the bird's-eye view, encoded by the same autoencoder, and the panorama's columns written
along their rays, `models.rays`), the labeller, whose logits are the segmentation, and the painter.
"""

import os
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xview_demo.classes import CLASSES
from xview_demo.models.hub import HubModel
from xview_demo.models.rays import RayProjector
from xview_demo.models.synthesis.bird_eye import BirdEye, fine_detail, local_means
from xview_demo.models.synthesis.interface import AERIAL, GROUND, SOLVERS, Drawn, Query, Sampling
from xview_demo.models.synthesis.layers import Labeller, Painter

UNET: dict[str, Any] = {
    "sample_size": 64, "out_channels": 4, "block_out_channels": [320, 640, 1280, 1280], "layers_per_block": 2,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    "cross_attention_dim": 768, "attention_head_dim": 8,
}  # fmt: skip
VAE: dict[str, Any] = {
    "block_out_channels": [128, 256, 512, 512], "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4, "latent_channels": 4, "layers_per_block": 2, "sample_size": 512,
    "scaling_factor": 0.18215,
}  # fmt: skip
VISION: dict[str, Any] = {
    "hidden_size": 768, "intermediate_size": 3072, "projection_dim": 512, "num_hidden_layers": 12,
    "num_attention_heads": 12, "image_size": 224, "patch_size": 32, "hidden_act": "quick_gelu",
}  # fmt: skip
SCHEDULE: dict[str, Any] = {
    "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
}  # fmt: skip
PREDICTIONS = ("epsilon", "v_prediction")
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class ClipDiffusion(HubModel):
    """Panorama → aerial view, by denoising the latents of an autoencoder.

    Args:
        size: side of the tile in pixels, a multiple of what the autoencoder reduces by.
        unet, vae, vision, schedule: keywords of `UNet2DConditionModel`, `AutoencoderKL`, `CLIPVisionConfig` and of the
            noise schedule that differ from the published ones (`UNET`, `VAE`, `VISION`, `SCHEDULE`).
        tokens: how often the image's embedding is repeated for the cross-attention; 0 takes the patches' own [ours].
        hidden: width of the layer that makes tokens.
        bird_eye: give the U-Net the latents of the bird's-eye view and their mask [ours].
        rays: channels of features read from the panorama's columns that join the bird's-eye view [ours].
        metres: width of the tile.
        prediction: what the U-Net gives: "epsilon", the noise (published), or "v_prediction" (Salimans & Ho, ICLR
            2022), from which the noise follows and a small network learns its conditions sooner [ours].
        steps, guidance, solver: of sampling, unless a call gives others (50 steps of DDIM published).
        painted: a small network says what each pixel shows, from what is decoded, the bird's-eye view and the rays; a
            second one paints over what is decoded upon these classes, with the view's fine detail laid over it first
            [ours].
        grain, strength: how rough and how strongly it paints, 1 as in training.
        detail: metres from the camera to which that detail is laid.

    Raises:
        ValueError: an unknown prediction, or a painter without the bird's-eye view.
    """

    reads, draws, samples = GROUND, AERIAL, True
    needs: tuple[str, ...] = ()
    latent_scale: Tensor
    alphas: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        size: int = 256,
        unet: dict[str, Any] | None = None,
        vae: dict[str, Any] | None = None,
        vision: dict[str, Any] | None = None,
        schedule: dict[str, Any] | None = None,
        tokens: int = 77,
        hidden: int = 1024,
        bird_eye: bool = False,
        metres: float = 64.0,
        prediction: str = "epsilon",
        rays: int = 0,
        steps: int = 50,
        guidance: float = 1.0,
        solver: str = "ddim",
        painted: bool = False,
        grain: float = 1.0,
        strength: float = 1.0,
        detail: float = 28.0,
    ) -> None:
        super().__init__()
        if painted and not bird_eye:
            raise ValueError("painted=True needs bird_eye=True.")
        if prediction not in PREDICTIONS:
            raise ValueError(f"prediction is {prediction!r}: use one of {', '.join(PREDICTIONS)}.")
        from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        self.size, self.count, self.bird_eye, self.metres = size, tokens, bird_eye, metres
        self.prediction, self.detail = prediction, detail
        self.steps, self.guidance, self.solver = steps, guidance, solver
        self.schedule = SCHEDULE | (schedule or {})
        self.vae = AutoencoderKL(**(VAE | (vae or {})))
        channels = self.vae.config.latent_channels
        wide = channels + (channels + 1 + rays if bird_eye else 0)
        self.unet = UNet2DConditionModel(**(UNET | (unet or {}) | {"in_channels": wide, "out_channels": channels}))
        self.vision = CLIPVisionModelWithProjection(CLIPVisionConfig(**(VISION | (vision or {}))))
        config, cross = self.vision.config, self.unet.config.cross_attention_dim
        code = config.projection_dim if tokens else config.hidden_size
        layers = [nn.Linear(code, hidden), nn.ReLU(), nn.Linear(hidden, cross)]
        self.tokens = nn.Sequential(*([] if tokens else [nn.LayerNorm(code)]), *layers)
        self.rays = RayProjector.over_tile(size // 2, metres, rays) if bird_eye and rays else None
        self.painter = Painter(len(CLASSES), 32, grain, strength) if painted else None
        self.labeller = Labeller(3 + 4 + rays, len(CLASSES)) if painted else None
        self.null = nn.Parameter(torch.zeros(1, 1, cross))  # what stands for "no picture"
        self.register_buffer("latent_scale", torch.tensor(float(self.vae.config.scaling_factor)))
        self.register_buffer("alphas", DDPMScheduler(**self.schedule).alphas_cumprod, persistent=False)
        self.register_buffer("mean", torch.tensor(CLIP_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(CLIP_STD).view(1, 3, 1, 1), persistent=False)

    @classmethod
    def from_stable_diffusion(
        cls,
        diffusion: str | os.PathLike[str] = "CompVis/stable-diffusion-v1-4",
        vision: str | os.PathLike[str] = "openai/clip-vit-base-patch32",
        *,
        local_files_only: bool = False,
        **keywords: Any,
    ) -> Self:
        """Compose the published parts: U-Net, autoencoder and schedule of one repository, vision tower of another.

        Args:
            diffusion: repository or folder with `unet/`, `vae/` and `scheduler/`, as diffusers writes them.
            vision: repository or folder of a CLIP model, as transformers writes it; its text tower is left out.
            local_files_only: never ask the network.
            keywords: of the constructor. With `bird_eye`, the U-Net's new input channels start without influence.

        Raises:
            ValueError: a part is incomplete, is no safetensors file, or predicts something else than the noise.
        """
        from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
        from transformers import CLIPVisionModelWithProjection

        options = {"local_files_only": local_files_only, "use_safetensors": True, "output_loading_info": True}
        unet = _whole(UNet2DConditionModel.from_pretrained(diffusion, subfolder="unet", **options), diffusion, "unet")
        vae = _whole(AutoencoderKL.from_pretrained(diffusion, subfolder="vae", **options), diffusion, "vae")
        tower = _whole(CLIPVisionModelWithProjection.from_pretrained(vision, **options), vision, "vision tower")
        found = DDPMScheduler.load_config(diffusion, subfolder="scheduler", local_files_only=local_files_only)
        if found.get("prediction_type", "epsilon") != "epsilon":
            raise ValueError(f"{diffusion} predicts {found['prediction_type']}, not the noise: use a version 1 model.")
        parts: dict[str, Any] = {name: _settings(part.config) for name, part in (("unet", unet), ("vae", vae))}
        parts["vision"] = {name: getattr(tower.config, name) for name in VISION}
        parts["schedule"] = {name: found[name] for name in SCHEDULE}
        model = cls(**parts, **keywords)
        state = unet.state_dict()
        first = torch.zeros_like(model.unet.conv_in.weight)
        first[:, : unet.config.in_channels] = state["conv_in.weight"]
        model.unet.load_state_dict(state | {"conv_in.weight": first}, strict=True)
        model.vae.load_state_dict(vae.state_dict(), strict=True)
        model.vision.load_state_dict(tower.state_dict(), strict=True)
        return model.eval()

    # Conditions

    def embed(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1], strips or tiles → the tower's embeddings (B, D), unit length."""
        return F.normalize(self.vision(pixel_values=self._pixels(image)).image_embeds.float(), dim=1)

    def condition(self, strip: Tensor) -> Tensor:
        """Strips (B, 3, H, W) in [0, 1] → tokens (B, N, D) of the cross-attention, in training as in sampling."""
        seen = self.vision(pixel_values=self._pixels(strip))
        if self.count:
            return self.tokens(seen.image_embeds)[:, None].expand(-1, self.count, -1)
        return self.tokens(seen.last_hidden_state)

    def _pixels(self, image: Tensor) -> Tensor:
        """What the tower takes; a strip's halves are laid one over the other, left above right."""
        if image.shape[-1] > 2 * image.shape[-2]:
            image = torch.cat(image.chunk(2, -1), -2)
        side = self.vision.config.image_size
        if image.shape[-2:] != (side, side):
            image = F.interpolate(image, (side, side), mode="bilinear", antialias=True)
        return (image - self.mean) / self.std

    def overhead(self, query: Query) -> Tensor:
        """The bird's-eye view of a query and its mask, (B, 4, size, size)."""
        project = BirdEye(pixels=self.size, metres=self.metres)
        return torch.cat(project(query.image, query.mask, query.camera_height), 1)

    def hint(self, query: Query) -> Tensor:
        """Further input channels of the U-Net (B, C + 1 + rays, h, w): latents of `overhead`, its mask, the rays."""
        overhead = self.overhead(query)
        with torch.no_grad():
            latents = self.encode(overhead[:, :3])
        shape = latents.shape[-2:]
        parts = [latents, F.interpolate(overhead[:, 3:], shape, mode="area")]
        if self.rays is not None:
            parts.append(F.interpolate(self.rays(query.image), shape, mode="area"))
        return torch.cat([part.float() for part in parts], 1)

    # Latents

    def encode(self, image: Tensor) -> Tensor:
        """Tiles (B, 3, size, size) in [0, 1] → latents (B, C, h, w) of about unit spread (the posterior's mean)."""
        return self.vae.encode(image * 2 - 1).latent_dist.mean * self.latent_scale

    def decode(self, latents: Tensor) -> Tensor:
        """Latents → tiles (B, 3, size, size), in [0, 1] or a little beyond; gradients pass."""
        return self.vae.decode(latents / self.latent_scale).sample.float() * 0.5 + 0.5

    def noisy(self, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """Latents as they are `time` (B,) steps into the noise."""
        kept = self.alphas[time].view(-1, 1, 1, 1)
        return kept.sqrt() * latents + (1 - kept).sqrt() * noise

    def clean(self, noisy: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """The latents that a predicted noise implies: the inverse of `noisy`."""
        kept = self.alphas[time].view(-1, 1, 1, 1)
        return (noisy - (1 - kept).sqrt() * noise) / kept.sqrt()

    def forward(self, noisy: Tensor, time: Tensor, tokens: Tensor, hint: Tensor | None = None) -> Tensor:
        """Predict the noise in latents (B, C, h, w) at `time` (B,); without a hint, its channels are 0."""
        wide = noisy
        if self.bird_eye:
            shape = (len(noisy), self.unet.config.in_channels - noisy.shape[1], *noisy.shape[-2:])
            wide = torch.cat((noisy, noisy.new_zeros(shape) if hint is None else hint.to(noisy)), 1)
        given = self.unet(wide, time, encoder_hidden_states=tokens).sample.float()
        if self.prediction == "epsilon":
            return given
        kept = self.alphas[time].view(-1, 1, 1, 1)
        return (1 - kept).sqrt() * noisy.float() + kept.sqrt() * given

    # Sampling

    @torch.no_grad()
    def draw(self, query: Query, sampling: Sampling | None = None, hinted: bool = True) -> Drawn:
        """Sample the tile of each strip.

        Args:
            query: the strips.
            sampling: seed, steps, guidance, solver and progress.
            hinted: give the bird's-eye view to a model, and its painter, that take it.

        Raises:
            ValueError: an unknown solver, or a number of steps that cannot be.
        """
        image = self.sample(query, sampling, hinted)
        if self.painter is None or self.labeller is None or not hinted:
            return Drawn(image)
        sketch, known = self.told(image, query)
        labels = self.labeller(known)
        return Drawn(self.painter(sketch, labels.argmax(1)), labels)

    def told(self, image: Tensor, query: Query) -> tuple[Tensor, Tensor]:
        """What the painter begins with, and what the labeller is told of each tile.

        Args:
            image: (B, 3, size, size) as sampled.
            query: the strips.

        Returns:
            the sample (B, 3, size, size), smooth, for guidance makes it rough, with the bird's eye's fine detail; and
            (B, 3 + 4 + rays, size, size): the smooth sample, `overhead`, the rays.
        """
        overhead, smooth = self.overhead(query), local_means(image)
        known = [smooth, overhead]
        if self.rays is not None:
            known.append(F.interpolate(self.rays(query.image), scale_factor=2.0, mode="bilinear"))
        return smooth + fine_detail(overhead, self.metres, self.detail), torch.cat(known, 1)

    @torch.no_grad()
    def sample(self, query: Query, sampling: Sampling | None = None, hinted: bool = True) -> Tensor:
        """As `draw`, before it is painted: (B, 3, size, size) in [0, 1]."""
        wanted = sampling or Sampling()
        steps, scale = wanted.steps or self.steps, self.guidance if wanted.guidance is None else wanted.guidance
        solver = self._scheduler(wanted.solver or self.solver, steps)
        tokens = self.condition(query.image)
        hint = self.hint(query) if self.bird_eye and hinted else None
        count, side = len(query.image), self.size // 2 ** (len(self.vae.config.block_out_channels) - 1)
        generator = torch.Generator().manual_seed(wanted.seed)
        latents = torch.randn(count, self.vae.config.latent_channels, side, side, generator=generator).to(tokens.device)
        for done, time in enumerate(solver.timesteps, 1):
            noise = self._guided(latents, time.to(tokens.device).expand(count), tokens, hint, scale)
            latents = solver.step(noise, time, latents).prev_sample
            if wanted.progress is not None:
                wanted.progress(done, len(solver.timesteps))
        return self.decode(latents).clamp(0, 1)

    def _guided(self, latents: Tensor, time: Tensor, tokens: Tensor, hint: Tensor | None, scale: float) -> Tensor:
        """The predicted noise, pushed away from what would be predicted without the picture (Ho & Salimans 2022)."""
        seen = self(latents, time, tokens, hint)
        if scale == 1:
            return seen
        blind = self(latents, time, self.null.expand_as(tokens).to(tokens))
        return blind + scale * (seen - blind)

    def _scheduler(self, name: str, steps: int) -> Any:
        """A solver that starts at the last time step, where the latents are noise (Lin et al. 2024, "trailing")."""
        from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

        if name not in SOLVERS:
            raise ValueError(f"No solver named {name!r}. Available: {', '.join(SOLVERS)}.")
        most = self.schedule["num_train_timesteps"]
        if not 1 <= steps <= most:
            raise ValueError(f"{steps} steps cannot be: give 1 to {most}.")
        settings = self.schedule | {"timestep_spacing": "trailing"}
        if name == "ddim":
            solver: Any = DDIMScheduler(**settings, clip_sample=False, set_alpha_to_one=True)
        else:
            solver = DPMSolverMultistepScheduler(**settings)
        solver.set_timesteps(steps)
        return solver


def _whole(loaded: tuple[Any, dict[str, Any]], source: Any, part: str) -> Any:
    """A part as loaded, if nothing of it was missing."""
    model, info = loaded
    wrong = sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]]))
    if wrong:
        raise ValueError(f"The {part} in {source} is incomplete, {wrong[0]} is missing or misshapen: fetch it again.")
    return model


def _settings(config: Any) -> dict[str, Any]:
    """The constructor's keywords in a configuration of diffusers."""
    return {name: value for name, value in dict(config).items() if not name.startswith("_")}
