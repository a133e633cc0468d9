"""What a recipe is; the recipes themselves are listed in `train.recipes`."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

from train.cache import SMOKE, TRAIN, CacheConfig
from train.engine import Settings
from xview_demo import zoo
from xview_demo.world.places import SMOKE as SMOKE_PLACES
from xview_demo.world.places import PlaceWorlds


@dataclass(frozen=True)
class Recipe:
    """What makes one set of weights."""

    summary: str
    method: str  # module:class below `train`
    settings: Settings
    smoke: dict[str, Any] = field(default_factory=dict)  # settings of the one-minute version; `model`: the zoo's tiny
    cache: CacheConfig | PlaceWorlds = TRAIN  # what is rendered for it
    data: str | None = None  # the data set it is for; None = the worlds of the cache
    compressed: bool = False  # stored in 8 bits a number (see `HubModel.compress`)

    def load(self) -> Callable[..., Any]:
        """The method's class."""
        module, name = self.method.split(":")
        return getattr(import_module(f"train.{module}"), name)

    def small(self) -> "Recipe":
        """The one-minute version: tiny world, tiny model, a few steps."""
        tiny = SMOKE if isinstance(self.cache, CacheConfig) else SMOKE_PLACES
        given = self.smoke if "model" in self.smoke else {"model": zoo.get(self.settings.recipe).tiny} | self.smoke
        return replace(self, settings=replace(self.settings, **given), cache=tiny)
