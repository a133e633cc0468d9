"""The modern recipe for real data sets: symmetric InfoNCE with label smoothing and hard negatives, on any device.

As Sample4Geo (Deuser, Habel & Oswald, ICCV 2023): a shared ConvNeXt-B, AdamW 1e-3 with a cosine and one epoch of
warm-up, batches of 128 of which half are neighbours of the other half, first on the ground, then in similarity. A pair
whose neighbours on the ground are unknown gets any others until then.
Precision and several processes are accelerate's: `accelerate launch -m train NAME …` trains on all GPUs of a machine.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.spatial import cKDTree
from torch import Generator, Tensor, nn

from train import augment
from train.data import apart, draw, pairs
from train.engine import Settings, generator_of
from train.losses import info_nce
from train.memory import Neighbours
from xview_demo.errors import ModelError
from xview_demo.models.matching.dual_encoder import DualEncoder

CHUNK = 64  # pairs described at once when neighbours are looked for


@dataclass
class DualBatch:
    """Aligned pictures."""

    strip: Tensor  # (B, 3, H, W)
    tile: Tensor  # (B, 3, P, P)
    valid: Tensor  # (B, B) False where two pairs show one place, by metres or by their tiles


class Both(nn.Module):
    """Both encodings in one forward pass, as several processes need it."""

    def __init__(self, model: DualEncoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, strip: Tensor, tile: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Descriptors (B, D) of both views and the scale of their products."""
        ground, aerial = self.model(strip, tile)
        return ground, aerial, self.model.log_scale.clamp(0.0, 4.6).exp()


class DualMethod:
    """Trains `DualEncoder`.

    Options: `pretrained` (start from timm's weights), `checkpointing` (spare memory), `precision` ("no", "bf16",
    "fp16"), `smoothing` (of the labels), `hard` (share of a batch that are neighbours of the rest), `neighbours` (from
    how many one is drawn), `refresh` (steps between looking for similar pairs; before the first, neighbours on the
    ground), `colour`, `turn` (quarter turns of both views), `apart` (metres).

    Raises:
        ModelError: accelerate is not installed.
    """

    averaged = "model"

    def __init__(self, settings: Settings, cache: Any) -> None:
        self.cache, self.settings = cache, settings
        self.options: dict[str, Any] = {
            "pretrained": False, "checkpointing": False, "precision": "no", "smoothing": 0.1, "hard": 0.5,
            "neighbours": 64, "refresh": 1000, "colour": 0.3, "turn": True, "apart": 12.0,
        }  # fmt: skip
        self.options |= settings.options
        self.accelerator = _accelerator(self.options["precision"])
        self.model = DualEncoder(**settings.model)
        if self.options["pretrained"]:
            self.model.start_from_pretrained()
        if self.options["checkpointing"]:
            self.model.spare_memory()
        optimiser = torch.optim.AdamW(
            self.model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.both, prepared = self.accelerator.prepare(Both(self.model), optimiser)
        self.optimisers: dict[str, torch.optim.Optimizer] = {"model": prepared}
        self.rows = cache.samples()
        self.place = torch.from_numpy(np.asarray(cache["place"][self.rows]))
        self.same: csr_array = cache.same
        self.neighbours = Neighbours(self._ground_neighbours())
        self.modules: dict[str, nn.Module] = {"model": self.model, "neighbours": self.neighbours}

    @property
    def near(self) -> np.ndarray:
        """(N, K) the pairs from which hard negatives of each are drawn."""
        return self.neighbours.near.numpy()

    @property
    def main(self) -> bool:
        """Whether this process writes the checkpoints."""
        return self.accelerator.is_main_process

    def _ground_neighbours(self) -> np.ndarray:
        """(N, K) the pairs nearest on the ground to each pair that show another place.

        Where there are too few in its world, any others stand in for them.
        """
        total = len(self.rows)
        count = min(int(self.options["neighbours"]), total - 1)
        world_apart = self.place[:, :1].double() * 1e9  # another world is never near
        points = torch.cat((self.place[:, 1:3].double(), world_apart), 1).numpy()
        nearest = cKDTree(points).query(points, k=min(2 * count + 1, total))[1].reshape(total, -1)
        unfit = (points[nearest, 2] != points[:, None, 2]) | self._same(nearest)
        order = np.argsort(unfit, axis=1, kind="stable")[:, :count]
        near, unfit = np.take_along_axis(nearest, order, 1), np.take_along_axis(unfit, order, 1)
        further = torch.randint(1, max(2, total), near.shape, generator=generator_of(self.settings.seed, 0)).numpy()
        return np.where(unfit, (np.arange(total)[:, None] + further) % total, near)

    def _same(self, others: np.ndarray) -> np.ndarray:
        """(N, K) whether each pair shows the same place as those others (N, K)."""
        near = ~apart(self.place[:, None], self.options["apart"], self.place[others])[:, 0]
        return near.numpy() | self.same[np.arange(len(others))[:, None], others].toarray()

    def _apart(self, rows: np.ndarray, others: np.ndarray) -> Tensor:
        """(B, M) bool, whether pairs (B,) show other places than others (M,): too far off, and not in one tile."""
        far = apart(self.place[rows], self.options["apart"], self.place[others])
        return far & ~torch.from_numpy(self.same[rows][:, others].toarray())

    @torch.no_grad()
    def _similar(self) -> np.ndarray:
        """(N, K) the pairs of other places whose tiles look most like each pair's panorama."""
        self.model.eval()
        ground, aerial = [], []
        for start in range(0, len(self.rows), CHUNK):
            sample = pairs(self.cache, self.rows[start : start + CHUNK])
            found = self.model(sample.ground.to(self.accelerator.device), sample.aerial.to(self.accelerator.device))
            ground.append(found[0].float().cpu())
            aerial.append(found[1].float().cpu())
        self.model.train()
        tiles = torch.cat(aerial)
        best = []
        everyone = np.arange(len(self.rows))
        for part, own in zip(torch.cat(ground).split(1024), torch.from_numpy(everyone).split(1024), strict=True):
            scores = (part @ tiles.T).masked_fill(~self._apart(own.numpy(), everyone), -torch.inf)
            best.append(scores.topk(self.near.shape[1], dim=1).indices)
        return torch.cat(best).numpy()

    def batch(self, generator: Generator) -> DualBatch:
        """Some pairs and neighbours of theirs, turned by quarters; other ones in every process."""
        o = self.options
        generator = generator_of(generator.initial_seed(), self.accelerator.process_index)
        count = self.settings.batch
        hard = int(count * o["hard"]) if self.near.shape[1] else 0
        chosen = draw(np.arange(len(self.rows)), count - hard, generator)
        of = chosen[torch.randint(len(chosen), (hard,), generator=generator).numpy()]
        which = torch.randint(max(1, self.near.shape[1]), (hard,), generator=generator).numpy()
        chosen = np.concatenate((chosen, self.near[of, which])) if hard else chosen
        sample = pairs(self.cache, self.rows[chosen])
        quarters = torch.randint(4 if o["turn"] else 1, (len(chosen),), generator=generator)
        strip = augment.roll(sample.ground, quarters * (sample.ground.shape[-1] // 4))
        tile = torch.stack([t.rot90(int(q), (1, 2)) for t, q in zip(sample.aerial, quarters, strict=True)])
        strip, tile = (augment.jitter_colour(x, generator, o["colour"], grey=0.0) for x in (strip, tile))
        return DualBatch(strip, tile, self._apart(chosen, chosen))

    def step(self, batch: DualBatch) -> dict[str, float]:
        """One update; logs the loss and the share of queries found within the batch."""
        done = int(self._count())
        if done and done % int(self.options["refresh"]) == 0 and done != int(self.neighbours.mined):
            self.neighbours.replace(self._similar(), done)
        device = self.accelerator.device
        with self.accelerator.autocast():
            ground, aerial, scale = self.both(batch.strip.to(device), batch.tile.to(device))
        scores = scale * ground.float() @ aerial.float().T
        loss = info_nce(scores, batch.valid.to(device), self.options["smoothing"])
        optimiser = self.optimisers["model"]
        optimiser.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.model.parameters(), 5.0)
        optimiser.step()
        found = scores.detach().argmax(1) == torch.arange(len(scores), device=device)
        return {"loss": loss.item(), "r1": found.float().mean().item(), "scale": scale.item()}

    def _count(self) -> float:
        """Updates so far, which the optimiser keeps through a resumed run."""
        states = list(self.optimisers["model"].state.values())
        return float(states[0]["step"]) if states else 0.0


def _accelerator(precision: str) -> Any:
    try:
        from accelerate import Accelerator
    except ModuleNotFoundError:
        raise ModelError(
            'The dual encoders are trained with accelerate, which is not installed: run `pip install -e ".[train]"`.'
        ) from None
    return Accelerator(mixed_precision=precision)
