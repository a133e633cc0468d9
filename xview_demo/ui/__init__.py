"""The demo in the browser: one file per tab; handlers translate, the library works."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import gradio as gr

    from xview_demo.localizer import GeoLocalizer


def build(geo: "GeoLocalizer", *, folders: bool | None = None) -> "gr.Blocks":
    """Lay out the demo around one localizer.

    Args:
        geo: what answers every question.
        folders: offer galleries from folders of this computer; left out, yes unless this is a public Space.

    Returns:
        A `gr.Blocks`; `.launch()` starts it with the demo's theme.
    """
    from xview_demo.ui.demo import build as lay_out

    return lay_out(geo, folders=folders)


def __getattr__(name: str) -> Any:
    raise AttributeError(f"module 'xview_demo.ui' has no attribute {name!r}; it offers build(geo)")
