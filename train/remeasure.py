"""`python -m train measure [NAME …]`: measure bundled models again and write the numbers into their cards.

The weights stay as they are, calibration and all: for when the world or what is measured on it has changed. Numbers of
real pairs are measured with `--real` only and kept otherwise; those among the tiles of other worlds cannot be kept.
Generators that draw the same view are measured together, which takes half the time.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from train.cards import HEAD, Real, Row, measure, on_real_pairs, rows_of, synthesis, version_of, with_numbers
from xview_demo import zoo
from xview_demo.errors import XViewError
from xview_demo.files import atomic_path
from xview_demo.world.world import VERSION


def main(arguments: list[str]) -> int:
    """Parse and measure; cards are written as their numbers come."""
    parser = argparse.ArgumentParser(prog="python -m train measure", description=__doc__)
    parser.add_argument("names", nargs="*", help="models (default: every one whose card has numbers)")
    parser.add_argument("--smoke", action="store_true", help="on a tiny world; prints the numbers, writes nothing")
    parser.add_argument("--real", type=Path, help="folder of real pairs to measure on as well")
    parser.add_argument("--scale", action="append", default=[], help="SET=METRES_PER_PIXEL of a set of real pairs")
    args = parser.parse_args(arguments)
    real = Real(args.real, tuple(args.scale)) if args.real else None
    for names in together(args.names or numbered()):
        remeasure(names, smoke=args.smoke, real=real)
    return 0


def numbered() -> list[str]:
    """The models whose cards have a table of numbers."""
    return sorted(path.stem for path in zoo.CARDS.glob("*.md") if HEAD[0] in path.read_text("utf-8"))


def together(names: Sequence[str]) -> list[list[str]]:
    """The names in groups that are measured at once: generators that draw the same view, and every other alone."""
    groups: dict[str, list[str]] = {}
    for name in names:
        entry = zoo.ZOO.get(name)
        groups.setdefault(entry.view if entry and entry.task == "synthesis" else name, []).append(name)
    return list(groups.values())


def remeasure(names: Sequence[str], *, smoke: bool = False, real: Real | None = None) -> None:
    """Measure one bundled model, or several generators that draw the same view, and write each card.

    Raises:
        XViewError: one has no card with numbers, or one with numbers of real pairs among tiles of earlier worlds.
    """
    texts = {name: _card_of(name, fresh=smoke or real is not None) for name in names}
    models = {name: zoo.load(name) for name in names}
    found = synthesis(models, smoke) if len(models) > 1 else {}
    for name, model in models.items():
        rows, _ = found.get(name) or measure(name, model, smoke)
        rows += on_real_pairs(name, model, real)[0] if real else []
        for row in rows:
            print(" | ".join(row), flush=True)
        if not smoke:
            _write(name, texts[name], rows)


def _card_of(name: str, *, fresh: bool) -> str:
    """The text of a card whose numbers are measured; `fresh`: none of the old ones must be kept."""
    if name not in numbered():
        raise XViewError(f"{name} has no card with numbers in {zoo.CARDS}; those that have: {', '.join(numbered())}.")
    text = (zoo.CARDS / f"{name}.md").read_text("utf-8")
    among = any("--distractors" in command for *_, command in rows_of(text))
    if among and not fresh and version_of(text) != VERSION:
        raise XViewError(
            f"{name} was measured on real pairs among tiles of worlds of version {version_of(text)}, and now they are "
            f"of version {VERSION}: give the real pairs as well (--real DIR)."
        )
    return text


def _write(name: str, text: str, rows: list[Row]) -> None:
    """Put new numbers into a card, in front of those that were not measured again."""
    again = {row[3] for row in rows}
    kept = [row for row in rows_of(text) if row[3] not in again and not row[0].startswith("world")]
    with atomic_path(zoo.CARDS / f"{name}.md") as temporary:
        temporary.write_text(with_numbers(text, rows + kept), encoding="utf-8")
