"""`python -m train measure [NAME …]`: measure bundled models again and write the numbers into their cards.

The weights stay as they are, calibration and all: for when the world or what is measured on it has changed. Numbers of
real pairs are measured with `--real` only and kept otherwise; those among the tiles of other worlds cannot be kept.
"""

import argparse
from pathlib import Path

from train.cards import HEAD, Real, measure, rows_of, version_of, with_numbers
from xview_demo import zoo
from xview_demo.errors import XViewError
from xview_demo.files import atomic_path
from xview_demo.world.world import VERSION


def main(arguments: list[str]) -> int:
    """Parse and measure; one card after the other is written."""
    parser = argparse.ArgumentParser(prog="python -m train measure", description=__doc__)
    parser.add_argument("names", nargs="*", help="models (default: every one whose card has numbers)")
    parser.add_argument("--smoke", action="store_true", help="on a tiny world; prints the numbers, writes nothing")
    parser.add_argument("--real", type=Path, help="folder of real pairs to measure on as well")
    parser.add_argument("--scale", action="append", default=[], help="SET=METRES_PER_PIXEL of a set of real pairs")
    args = parser.parse_args(arguments)
    for name in args.names or numbered():
        remeasure(name, smoke=args.smoke, real=Real(args.real, tuple(args.scale)) if args.real else None)
    return 0


def numbered() -> list[str]:
    """The models whose cards have a table of numbers."""
    return sorted(path.stem for path in zoo.CARDS.glob("*.md") if HEAD[0] in path.read_text("utf-8"))


def remeasure(name: str, *, smoke: bool = False, real: Real | None = None) -> None:
    """Measure one bundled model and write its card.

    Raises:
        XViewError: it has no card with numbers, or one with numbers of real pairs among tiles of earlier worlds.
    """
    path = zoo.CARDS / f"{name}.md"
    if name not in numbered():
        raise XViewError(f"{name} has no card with numbers in {zoo.CARDS}; those that have: {', '.join(numbered())}.")
    text = path.read_text("utf-8")
    among = any("--distractors" in command for *_, command in rows_of(text))
    if among and not (real or smoke) and version_of(text) != VERSION:
        raise XViewError(
            f"{name} was measured on real pairs among tiles of worlds of version {version_of(text)}, and now they are "
            f"of version {VERSION}: give the real pairs as well (--real DIR)."
        )
    rows, _ = measure(name, zoo.load(name), smoke, real=real)
    for row in rows:
        print(" | ".join(row), flush=True)
    if smoke:
        return
    again = {row[3] for row in rows}
    kept = [row for row in rows_of(text) if row[3] not in again and not row[0].startswith("world")]
    with atomic_path(path) as temporary:
        temporary.write_text(with_numbers(text, rows + kept), encoding="utf-8")
