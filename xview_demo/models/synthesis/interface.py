"""What every generator takes and gives, so that its callers need not know which one they hold.

A generator has these attributes, and a method `draw(query, sampling)` that returns a `Drawn`:
`reads` and `draws`, each "ground" or "aerial"; `metres`, the width of the tile it draws or reads; `needs`, what a query
must bring beside its picture ("depth", "labels"); `samples`, whether seed, steps and guidance matter.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

GROUND, AERIAL = "ground", "aerial"
SOLVERS = ("ddim", "dpm-solver")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Query:
    """A batch of pictures to draw from."""

    image: Tensor  # (B, 3, H, W) in [0, 1]: full strips, ±45°, or tiles
    mask: Tensor | None = None  # (B, 1, H, W), 1 where a strip shows something
    camera_height: float | None = None  # metres above the ground
    depth: Tensor | None = None  # (B, H, W) metres along the ray of the strip's pixels, inf = sky
    labels: Tensor | None = None  # (B, H, W) classes of the strip's pixels


@dataclass(frozen=True)
class Sampling:
    """How a generator that draws at random does so; None leaves a choice to the generator."""

    seed: int = 0
    steps: int | None = None  # of denoising
    guidance: float | None = None  # classifier-free guidance scale; 1 = none
    solver: str | None = None  # one of SOLVERS
    progress: Progress | None = None  # called with (steps done, steps in all); an exception raised in it cancels


@dataclass(frozen=True)
class Drawn:
    """What a generator drew."""

    image: Tensor  # (B, 3, h, w) in [0, 1]; the upper edge of a tile lies along the strip's centre column
    labels: Tensor | None = None  # (B, classes, h, w) logits of the classes


class Generator(Protocol):
    """The interface."""

    reads: str
    draws: str
    metres: float
    needs: tuple[str, ...]
    samples: bool

    def draw(self, query: Query, sampling: Sampling | None = None) -> Drawn:
        """Draw the other view of each picture of a query."""
        ...


def frame(view: str, size: int) -> tuple[int, int]:
    """Rows and columns of a picture: a tile is size × size, a strip size / 2 × 2·size.

    Raises:
        ValueError: an unknown view.
    """
    if view not in (GROUND, AERIAL):
        raise ValueError(f"view is {view!r}: use 'ground' or 'aerial'.")
    return (size, size) if view == AERIAL else (size // 2, 2 * size)
