"""What the tabs share: the picture box, the sentence shown for bad input, small pieces of HTML, example files."""

import atexit
import functools
import html
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import gradio as gr

from xview_demo.classes import CLASSES, PALETTE
from xview_demo.errors import XViewError, one_line
from xview_demo.views import AerialView, GroundView

View = TypeVar("View")
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
STREET = ("panorama.jpg", "panorama-*.jpg", "photo*.jpg")  # names of example pictures
FROM_FILE, UNKNOWN, GIVEN = "As the file says", "Unknown", "Given below"


def spoken(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Turn a `ValueError` or a missing file into the message that Gradio shows."""

    @functools.wraps(handler)
    def run(*args: Any, **options: Any) -> Any:
        try:
            return handler(*args, **options)
        except (ValueError, OSError) as error:
            raise gr.Error(sentence(error), title="Please check the input", print_exception=False) from error

    return run


def refuse_plainly(box: Any) -> None:
    """Have a box refuse in one sentence what a program sends and the page does not offer.

    Gradio's own refusal, which comes before the handler, speaks of Python and leaves a traceback in the server's log.
    """
    if not isinstance(box, gr.Dropdown | gr.Radio | gr.CheckboxGroup | gr.Slider | gr.Number | gr.File):
        return
    checked = box.preprocess

    @spoken
    def preprocess(payload: Any) -> Any:
        try:
            return checked(payload)
        except Exception as error:  # Gradio's own errors, which are no ValueError, or a TypeError
            given = Path(payload.path).name if isinstance(box, gr.File) else payload
            raise XViewError(f"'{box.label}' does not take {given!r}: {_offered(box)}.") from error

    box.preprocess = preprocess  # type: ignore[method-assign]


def _offered(box: Any) -> str:
    """What a box takes, as the end of a sentence."""
    if isinstance(box, gr.File):
        return f"give a {' or '.join(box.file_types or [])} file"
    if isinstance(box, gr.Dropdown | gr.Radio | gr.CheckboxGroup):
        return f"choose from {', '.join(repr(value) for _, value in box.choices)}"
    return f"give a number from {box.minimum:g} to {box.maximum:g}" if isinstance(box, gr.Slider) else "give a number"


def sentence(error: BaseException) -> str:
    """The error's message on one line, safe to place in a page."""
    return html.escape(one_line(error), quote=False)


def picture_box(label: str, height: int = 260, **options: Any) -> gr.Image:
    """A box to upload or paste a picture into.

    It hands on the uploaded file as it is, so that EXIF and GPano metadata survive and a broken file reaches the
    library, which says in one sentence what is wrong with it.
    """
    box = gr.Image(
        label=label, type="filepath", sources=["upload", "clipboard"], height=height, buttons=["fullscreen"], **options
    )
    box.preprocess = _path_of  # type: ignore[method-assign]
    return box


def _path_of(payload: Any) -> str | None:
    return None if payload is None else payload.path


def shown(label: str, height: int | None = None, **options: Any) -> gr.Image:
    """A box that only shows a picture."""
    return gr.Image(
        label=label,
        interactive=False,
        type="numpy",
        height=height,
        format="png",
        buttons=["download", "fullscreen"],
        **options,
    )


def open_ground(
    path: str | None, said: str = FROM_FILE, heading: float | None = None, hfov: float | None = None
) -> GroundView:
    """The ground view in an uploaded file.

    Args:
        path: of the file; None = nothing was uploaded.
        said: where the heading comes from: `FROM_FILE`, `UNKNOWN` or `GIVEN`.
        heading: degrees clockwise from north, for `GIVEN`.
        hfov: degrees; None or 0 = as the file says.
    """
    if not path:
        raise XViewError("There is no picture yet: upload a street-level panorama or choose an example.")
    if said == GIVEN and heading is None:
        raise XViewError("No heading is given: type the degrees clockwise from north, or choose 'Unknown'.")
    view = opened(GroundView, path, heading=heading if said == GIVEN else None, hfov=hfov or None)
    return replace(view, heading=None) if said == UNKNOWN else view


def open_aerial(path: str | None) -> AerialView:
    """The aerial view in an uploaded file; None = nothing was uploaded."""
    if not path:
        raise XViewError("There is no picture yet: upload an aerial picture or choose an example.")
    return opened(AerialView, path)


def opened(kind: type[View], path: str, **given: Any) -> View:
    """Open an uploaded file as a view; an error names the file as the visitor knows it."""
    try:
        return kind.open(path, **given)  # type: ignore[attr-defined, no-any-return]
    except XViewError as error:
        raise type(error)(str(error).replace(path, f"'{Path(path).name}'")) from error


def about_ground(path: str | None) -> str:
    """One line of HTML: what a ground picture's file says about itself, or what is wrong with it."""
    if not path:
        return ""
    try:
        view = opened(GroundView, path)
    except (ValueError, OSError) as error:
        return f'<div class="said bad">{sentence(error)}</div>'
    kind = "panorama" if view.projection == "equirectangular" else "photograph"
    parts = [f"{kind}, {view.hfov:.0f}° × {view.vfov:.0f}°"]
    parts.append("heading unknown" if view.heading is None else f"heading {view.heading:.0f}°")
    parts.append("position unknown" if view.latlon is None else f"taken at {place_text(view.latlon)}")
    return f'<div class="said">{" · ".join(parts)}</div>'


def place_text(latlon: Sequence[float]) -> str:
    """Coordinates for people, about a metre fine."""
    return f"{latlon[0]:.5f}, {latlon[1]:.5f}"


def lead(text: str) -> gr.HTML:
    """The sentence that opens a tab."""
    return gr.HTML(f'<div class="lead">{text}</div>')


def empty(text: str) -> str:
    """What stands where a result will be."""
    return f'<div class="empty">{text}</div>'


def facts(entries: Sequence[tuple[str, str, str]]) -> str:
    """A row of figures: name, value, note."""
    cells = (
        f'<div class="fact"><div class="name">{html.escape(name)}</div><div class="value">{html.escape(value)}</div>'
        f'<div class="note">{html.escape(note)}</div></div>'
        for name, value, note in entries
    )
    return f'<div class="facts">{"".join(cells)}</div>'


def shares(areas: Mapping[str, float], classes: Sequence[str] = CLASSES, palette: Any = PALETTE) -> str:
    """The legend with each class's share as a bar, the largest first."""
    rows = []
    for name, share in sorted(areas.items(), key=lambda item: -item[1]):
        if share >= 0.0005 and name in classes:
            colour = "#{:02x}{:02x}{:02x}".format(*(int(c) for c in palette[classes.index(name)]))
            rows.append(
                f'<div><span class="swatch" style="background:{colour}"></span>{name}</div>'
                f'<div class="track"><div class="bar" style="width:{share:.1%};background:{colour}"></div></div>'
                f'<div class="share">{share:.1%}</div>'
            )
    return f'<div class="shares">{"".join(rows)}</div>'


def example_files(*patterns: str) -> list[str]:
    """The example pictures that stand beside the program, those named first in the order of the patterns."""
    return [str(path) for pattern in patterns for path in sorted(EXAMPLES.glob(pattern))]


def examples(box: gr.Image, *patterns: str) -> None:
    """A row of example pictures under a picture box, where there are any."""
    rows = [[file] for file in example_files(*patterns)]
    if rows:
        gr.Examples(rows, inputs=[box], label="Examples", cache_examples=False)


@functools.cache
def scratch() -> Path:
    """This process's folder for files that the page offers; removed at exit."""
    folder = Path(tempfile.mkdtemp(prefix="xview-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def scratch_file(suffix: str) -> Path:
    """A fresh path in the scratch folder."""
    return scratch() / f"{uuid4().hex}{suffix}"
