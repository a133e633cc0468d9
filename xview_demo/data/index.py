"""What belongs together: ground pictures, aerial tiles, and which tiles show which place."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from xview_demo.errors import DataError

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class WorldPlace:
    """A picture that is rendered when it is asked for."""

    seed: int  # of the World
    east: float  # metres from the World's centre
    north: float  # metres
    biome: str | None = None
    size: float = 1000.0  # metres, width of the World
    resolution: float = 0.5  # metres per cell of the World
    exact: bool = False


@dataclass(frozen=True)
class GroundItem:
    """One street-level picture."""

    id: str
    source: Path | WorldPlace
    heading: float | None = None  # degrees clockwise from north of the centre column
    hfov: float | None = None  # degrees; None = as the picture says
    latlon: tuple[float, float] | None = None  # degrees WGS84
    offset: tuple[float, float] | None = None  # metres (east, north) of the camera from its tile's centre
    also: dict[str, Path] = field(default_factory=dict)  # further files by kind, such as "label" or "depth"


@dataclass(frozen=True)
class AerialItem:
    """One aerial tile."""

    id: str
    source: Path | WorldPlace
    metres_per_pixel: float | None = None  # None = as the picture says
    latlon: tuple[float, float] | None = None  # degrees WGS84 of the centre
    also: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class PairIndex:
    """Queries, gallery and truth of one split of a data set."""

    name: str
    split: str | None
    ground: tuple[GroundItem, ...]  # Q queries
    aerial: tuple[AerialItem, ...]  # N tiles
    positives: tuple[tuple[int, ...], ...]  # for each query the tiles that are right, the best first
    semi_positives: tuple[tuple[int, ...], ...] = ()  # tiles that overlap and are neither right nor wrong; () = none

    def __post_init__(self) -> None:
        """Check that the truth fits the lists."""
        if not self.ground or not self.aerial:
            raise DataError(
                f"The data set {self.name!r} ({self.split or 'all'}) has {len(self.ground)} ground pictures and "
                f"{len(self.aerial)} aerial tiles: check its root and split."
            )
        if len(self.positives) != len(self.ground):
            raise DataError(f"{len(self.ground)} ground pictures have {len(self.positives)} lists of right tiles.")
        if any(not 0 <= tile < len(self.aerial) for tiles in self.positives for tile in tiles):
            raise DataError(f"The data set {self.name!r} names a right tile that is not among its {len(self.aerial)}.")

    def __len__(self) -> int:
        """Number of queries."""
        return len(self.ground)

    @property
    def truth(self) -> np.ndarray:
        """(Q,) index of the best right tile of each query; −1 where there is none."""
        return np.array([tiles[0] if tiles else -1 for tiles in self.positives])

    def truth_mask(self) -> np.ndarray:
        """(Q, N) bool, every right tile of each query, as `metrics.ranks` takes it."""
        return self._mask(self.positives)

    def cover_mask(self) -> np.ndarray:
        """(Q, N) bool, every tile that shows the place of each query: the right and the semi-positive ones."""
        return self.truth_mask() | self._mask(self.semi_positives)

    def _mask(self, lists: tuple[tuple[int, ...], ...]) -> np.ndarray:
        mask = np.zeros((len(self.ground), len(self.aerial)), dtype=bool)
        for query, tiles in enumerate(lists):
            mask[query, list(tiles)] = True
        return mask

    def subset(self, count: int, seed: int = 0) -> "PairIndex":
        """`count` queries drawn without replacement (in their order), with the whole gallery kept."""
        drawn = np.random.default_rng(seed).choice(len(self), min(count, len(self)), replace=False)
        chosen = np.sort(drawn).tolist()
        return replace(
            self,
            ground=tuple(self.ground[i] for i in chosen),
            positives=tuple(self.positives[i] for i in chosen),
            semi_positives=tuple(self.semi_positives[i] for i in chosen) if self.semi_positives else (),
        )


def check_split(split: str | None) -> None:
    """Raise `DataError` unless `split` is train, validation, test or None for everything."""
    if split is not None and split not in SPLITS:
        raise DataError(f"No split named {split!r}. Available: {', '.join(SPLITS)}, or None for everything.")
