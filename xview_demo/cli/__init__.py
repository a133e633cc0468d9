"""The command line, `xview VERB …`: each verb opens its inputs, makes one library call and prints the result.

With `--json` the last line of standard output is one JSON object. Bad input is one sentence on standard error and
exit code 2; anything unforeseen is one sentence and exit code 1; `--debug`, anywhere on the line, shows the traceback.
"""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from xview_demo.cli import evaluate, galleries, places, positions, views, worlds
from xview_demo.errors import one_line

app = typer.Typer(
    name="xview",
    help="Cross-view geo-localization: from a street-level picture to its place on the aerial map.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(views.synthesize)
app.command()(views.segment)
app.command()(views.depth)
app.command()(views.localize)
app.command()(positions.locate)
app.add_typer(galleries.app, name="gallery")
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(worlds.bench_app, name="bench")
app.command()(worlds.world)
app.command()(worlds.models)
app.command()(places.geowarp_pairs)
app.command()(places.world_places)
app.command("app")(worlds.demo)


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Hold the options that stand before the verb; `main` reads `--debug` wherever it stands."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `xview`: exit code 0 when done, 2 for bad input, 1 for anything unforeseen; one sentence either way."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given or bool(os.environ.get("XVIEW_DEBUG"))
    try:
        app([word for word in given if word != "--debug"], prog_name="xview")
    except (ValueError, OSError) as error:
        if debug:
            raise
        print(f"xview: {_sentence(error)}", file=sys.stderr)
        raise SystemExit(2) from None
    except Exception as error:
        if debug:
            raise
        print(f"xview: unexpected {type(error).__name__}: {_sentence(error)} (--debug shows where).", file=sys.stderr)
        raise SystemExit(1) from None


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.strerror}: '{error.filename}'."
    return one_line(error)
