"""Cross-view geo-localization: a street-level picture in, its aerial view, place and heading out.

Everything public is reached from here and loaded at first use, so that `import xview_demo` stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xview_demo.errors import XViewError
    from xview_demo.gallery import Gallery
    from xview_demo.localizer import GeoLocalizer
    from xview_demo.outputs import Depth, Localization, Match, Pose, Region, Segmentation, Synthesis
    from xview_demo.views import AerialView, GroundView
    from xview_demo.world import World
    from xview_demo.zoo import list_models

__version__ = "0.1.0"
_HOME = {
    "AerialView": "views",
    "Depth": "outputs",
    "Gallery": "gallery",
    "GeoLocalizer": "localizer",
    "GroundView": "views",
    "Localization": "outputs",
    "Match": "outputs",
    "Pose": "outputs",
    "Region": "outputs",
    "Segmentation": "outputs",
    "Synthesis": "outputs",
    "World": "world",
    "XViewError": "errors",
    "list_models": "zoo",
}
__all__ = [
    "AerialView",
    "Depth",
    "Gallery",
    "GeoLocalizer",
    "GroundView",
    "Localization",
    "Match",
    "Pose",
    "Region",
    "Segmentation",
    "Synthesis",
    "World",
    "XViewError",
    "list_models",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'xview_demo' has no attribute {name!r}; it offers {', '.join(__all__)}")
    value = getattr(import_module(f"xview_demo.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
