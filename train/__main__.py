"""`python -m train RECIPE`: train one of the bundled models. `python -m train cache` only renders the worlds.

`python -m train import-geowarp FE.pth HR.pth --out DIR` reads the checkpoints that GeoWarp's authors published.
`python -m train measure [NAME …]` measures bundled models again and writes the numbers into their cards.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from train import cache as caches
from train import importing, remeasure
from train.engine import Settings, generator_of, is_main, train
from train.pairs import open_pairs
from train.places import open_places
from train.recipes import PRESETS, RECIPES, Recipe, get
from xview_demo import zoo
from xview_demo.errors import XViewError
from xview_demo.world.places import PlaceWorlds


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    p.add_argument("recipe", nargs="?", help="name of a recipe, or `cache` to render the worlds only")
    p.add_argument("--list", action="store_true", help="list the recipes")
    p.add_argument("--smoke", action="store_true", help="tiny world, tiny model, a few steps: under a minute")
    p.add_argument("--cache", type=Path, help="folder of the rendered worlds (default: the user's cache folder)")
    p.add_argument("--out", type=Path, help="folder of the run (default: RUNS/<recipe> in the cache folder)")
    p.add_argument("--weights", type=Path, help="also write the result there, e.g. xview_demo/weights")
    p.add_argument(
        "--start", type=Path, help="folder `model` of the run that the recipe builds on (default: in the cache folder)"
    )
    p.add_argument("--steps", type=int, help="length of the schedule")
    p.add_argument("--minutes", type=float, help="length of the schedule, from the pace measured at the start")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--worlds", type=int, help="number of training worlds (default 480)")
    p.add_argument("--workers", type=int, default=2, help="processes that render")
    p.add_argument("--threads", type=int, default=0, help="threads of the training (default: all cores)")
    p.add_argument("--fresh", action="store_true", help="forget an unfinished run in --out")
    p.add_argument("--no-evaluation", action="store_true", help="skip the final evaluation and the card")
    p.add_argument("--data", help="train on a real data set instead of the worlds: cvusa, cvact, vigor, folder, …")
    p.add_argument("--root", type=Path, help="folder of that data set, or of photographs for geowarp-*")
    p.add_argument("--split", default="train", help="split of that data set; cross-train: VIGOR's across cities")
    p.add_argument("--real", type=Path, help="folder of real pairs to report in the card")
    p.add_argument("--scale", action="append", default=[], help="SET=METRES_PER_PIXEL of a set of real pairs")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, render what is missing, train, evaluate, write."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["import-geowarp"]:
        return importing.main(given[1:])
    try:
        return remeasure.main(given[1:]) if given[:1] == ["measure"] else _trained(parser().parse_args(given))
    except XViewError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _trained(args: argparse.Namespace) -> int:
    if args.list or not args.recipe:
        for name, recipe in (RECIPES | PRESETS).items():
            s = recipe.settings
            print(f"{name:20} {recipe.summary} ({s.steps} steps of {s.batch})")
        return 0
    run(args)
    return 0


def run(args: argparse.Namespace) -> Path:
    """Carry out one command; returns the folder of the run (or of the cache)."""
    torch.set_num_threads(args.threads or torch.get_num_threads())
    if args.recipe == "cache":
        config = caches.SMOKE if args.smoke else caches.TRAIN
        return caches.build(_worlds(config, args.worlds), args.cache, args.workers)
    recipe = get(args.recipe)
    recipe = recipe.small() if args.smoke else recipe
    if isinstance(recipe.cache, PlaceWorlds):
        data: Any = open_places(recipe.cache, args.root, args.cache, args.worlds)
        rendered, home = data.fingerprint, args.cache or caches.default_root()
    elif args.data or recipe.data:
        home = args.cache or Path.cwd()
        config = _worlds(recipe.cache, args.worlds)
        data = open_pairs(args.data or recipe.data or "", args.root, args.split, config, home)
        rendered = data.config.fingerprint
    else:
        config = _worlds(recipe.cache, args.worlds)
        folder = caches.build(config, args.cache, 0 if args.smoke else args.workers)
        data, home, rendered = caches.Cache(folder), folder.parent, config.fingerprint
    out = args.out or home / "runs" / (args.recipe + ("-smoke" if args.smoke else ""))
    if args.fresh:
        (out / "checkpoint.pt").unlink(missing_ok=True)
    settings = replace(recipe.settings, seed=args.seed, cache=rendered)
    settings = _built_on(settings, recipe, args.start) if args.start else settings
    settings = replace(settings, steps=args.steps) if args.steps else settings
    settings = _paced(settings, recipe, data, out, args.minutes) if args.minutes else settings
    torch.manual_seed(settings.seed)
    method = recipe.load()(settings, data)
    model = train(settings, method, out).cpu()  # where it is measured
    if not is_main(method):
        return out
    model = model.compress() if recipe.compressed else model.as_stored()  # type: ignore[operator]
    model.save_pretrained(out / "model")  # type: ignore[operator]
    print(f"weights: {out / 'model'}")
    if not args.no_evaluation and args.recipe in zoo.ZOO:
        from train.cards import Real, finish

        real = Real(args.real, tuple(args.scale)) if args.real else None
        places = data.root if isinstance(recipe.cache, PlaceWorlds) else None
        finish(args.recipe, model, settings, out, weights=args.weights, smoke=args.smoke, real=real, places=places)
    return out


def _worlds(config: caches.CacheConfig, worlds: int | None) -> caches.CacheConfig:
    return replace(config, worlds=worlds) if worlds else config


def _built_on(settings: Settings, recipe: Recipe, folder: Path) -> Settings:
    """The settings with that folder in the place of the model that the recipe builds on otherwise."""
    option = getattr(recipe.load(), "builds_on", None)
    if option is None:
        raise XViewError(f"{settings.recipe} builds on no other run: leave out --start.")
    return replace(settings, options=settings.options | {option: str(folder.resolve())})


def _paced(settings: Settings, recipe: Recipe, data: Any, out: Path, minutes: float) -> Settings:
    """The settings with as many steps as fit into `minutes` at the pace of a trial; a resumed run keeps its own."""
    import json

    stored = out / "settings.json"
    if (out / "checkpoint.pt").is_file() and stored.is_file():
        return replace(settings, steps=json.loads(stored.read_text())["steps"])
    method = recipe.load()(settings, data)
    times = []
    for step in range(10):
        start = time.monotonic()
        method.step(method.batch(generator_of(settings.seed, step)))
        times.append(time.monotonic() - start)
    pace = sorted(times[2:])[4]
    steps = max(10, int(minutes * 60 / pace))
    print(f"{pace:.2f} s a step: {steps} steps fit into {minutes:g} minutes (repeat with --steps {steps})")
    return replace(settings, steps=steps)


if __name__ == "__main__":
    sys.exit(main())
