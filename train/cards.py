"""The end of a run: calibrate, evaluate on test worlds, write the weights and the card.

A card holds only what a command printed; the command stands beside each number.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from train import measures, recipes_places
from train.engine import Settings
from train.looks import with_pictures
from train.pictures import with_helpers
from train.recipes import RECIPES
from xview_demo import evaluation, zoo
from xview_demo.evaluation.synthesis import BLIND, SEGMENTERS
from xview_demo.files import atomic_path, write_json
from xview_demo.models.synthesis.interface import AERIAL
from xview_demo.world.world import VERSION

Row = tuple[str, str, str, str]  # what is measured, metric, value, command


@dataclass(frozen=True)
class Real:
    """A folder of real pairs (see `evaluation.real_pairs`), and the scales of its sets as `SET=METRES_PER_PIXEL`."""

    folder: Path
    scales: tuple[str, ...] = ()


HEAD = ("| on | metric | value | command |", "|---|---|---|---|")  # of a card's table of numbers
NOTE = (
    "Rates are percentages, IoU and SSIM fractions; intervals are 95 % bootstrap intervals over queries. "
    "Worlds of version "
)
DISTRACTORS = 1000  # tiles of validation worlds among those of the real pairs
TINY = evaluation.Protocol(worlds=1, queries=3, tiles=4, size=260.0, resolution=1.0)

ABOUT: dict[str, str] = {
    "azimuth-world": (
        "Two small convolutional encoders turn a panorama and a polar view of an aerial tile (64 m) into 64 columns of "
        "bearing with 24 channels each; a second branch reads the ground of the panorama from above, as the polar view "
        "shows it. Turning the camera rolls the descriptor: a circular correlation finds score and heading together, a "
        "known heading needs only a dot product. A tile is described from its centre and from six places 2.4 m beside "
        "it, of which the best counts; its descriptor depends on the tile alone."
    ),
    "unet-ground-world": "A U-Net that names the class of every pixel of a street-level view.",
    "unet-aerial-world": "A U-Net that names the class of every pixel of an aerial view at 0.25 m/px.",
    "depth-world": "A U-Net that estimates metres along the ray, and the sky, in a street-level view.",
    "xfork-world": (
        "The X-Fork generator of Regmi & Borji (2018) at 128 pixels, drawn up to 256. Beyond the source, it takes the "
        "bird's-eye projection of the panorama as a second input, which a ResNet-18 reads, writes each of the "
        "panorama's columns along its ray, gives logits of the eight classes, and learns from SSIM beside L1. A "
        "painter paints upon these classes, so that a network which learns from true tiles alone reads them in the "
        "picture, and is judged by a discriminator that segments; it learned in the last part of the training only. "
        "How strongly it paints was chosen on validation worlds."
    ),
    "xfork-edges-world": (
        "The edge variant of the X-Fork generator: Canny edges (50/100) of the panorama are a fourth channel. It takes "
        "the bird's-eye projection, writes columns along their rays and paints upon its classes as `xfork-world` does, "
        "but has no ResNet-18 and never learned from SSIM. In the last part of its training the painter alone learned, "
        "held to the true colours of squares of 4 m only, so that it may lay textures where it likes."
    ),
    "xseq-world": (
        "X-Seq (Regmi & Borji 2018): one generator draws the aerial view, a second segments what was drawn, its "
        "gradient scaled by 0.1 in the first. Beyond the source, a ResNet-18 reads the bird's-eye projection and the "
        "columns along their rays, and a painter, judged by a discriminator of classes, paints upon what was segmented."
    ),
    "pix2pix-world": (
        "The single-output baseline that X-Fork and X-Seq extend: the panorama alone in, the aerial view alone out. "
        "Beyond the source, a ResNet-18 reads the bird's-eye projection and the columns along their rays, and a small"
        " network paints over what was drawn, upon the features that it was drawn from; the projection's fine detail "
        "is laid over it first, as far as 28 m from the camera. No part of the generator is asked for classes, but a "
        "discriminator of them judges what is painted, and in the end the whole generator learns from that; how "
        "strongly it then paints was chosen on validation worlds."
    ),
    "xfork-ground-world": (
        "X-Fork from above to the street: an aerial tile in, the panorama from its middle and its classes out. Beyond "
        "the source, the tile's ground as the camera sees it is a second input, and the picture is painted upon the "
        "classes."
    ),
    "rgbds-world": (
        "A small Swin transformer reads colour, depth and classes of the panorama, a decoder of deconvolutions draws "
        "the aerial view. Beyond the source, a ResNet-18 tells the decoder what the bird's-eye projection shows, what "
        "stands where by its depth, and what each column holds; the classes of the tile are drawn as well, and the "
        "picture is painted upon them, so that a network which learns from true tiles alone (not the segmenter that "
        "judges below) reads them in it. Depth and classes of a query come from `depth-world` and `unet-ground-world`; "
        "in the last part of the training, those of half the strips did."
    ),
    "clip-diffusion-world": (
        "Latent diffusion whose U-Net attends to the patch tokens of a small vision tower, the small sibling of "
        "Stable Diffusion 1.4 with CLIP ViT-B/32. Beyond the source, the latents of the bird's-eye projection are "
        "further input channels; numbers are given with and without them. The projection's fine detail, as far as 28 "
        "m from the camera, is laid over the sample, whose own is left out. A small U-Net then says what each pixel "
        "shows, from the sample, the projection and the panorama's columns along their rays; a painter paints over both"
        " upon these classes, so that a network which learns from true tiles alone reads them in the picture. Every "
        "seed gives another view; two steps are the default, for on validation worlds every measure is worse with more."
    ),
    **measures.ABOUT,
    **recipes_places.ABOUT,
}
NEEDED = {"rgbds-world": ("depth-world", "unet-ground-world")}  # what estimates a query's depth and classes
FUSED = (
    "It was trained on the synthetic views of `xfork-world` and the classes that `unet-aerial-world` finds in them: "
    "with other models in their place it must be trained anew. A query of unknown heading takes sixteen of each."
)
UNTOLD = "Trained on a procedural world only."
EARLIER = (
    "The classes of tiles that it learned were those of an earlier world, which named fences and poles half a metre "
    "wide; now a pixel is named by what covers most of it."
)
LEARNED_EARLIER = (
    "xfork-edges-world", "xseq-world", "pix2pix-world", "rgbds-world", "clip-diffusion-world", "segformer-world",
    "mst-world", "featup-world",
)  # fmt: skip
LIMITS: dict[str, str] = {
    "azimuth-world": (
        "Most of the views it was trained on, four in five, showed less than a full turn, 70° at least; they are found "
        "less often than panoramas. Their probabilities have temperatures of their own, fitted at 180, 90 and 70° and "
        "interpolated between; real pictures are further from the worlds: there any probability is too high. Tiles are "
        "taken to be 64 m wide with the camera within three metres or so of the centre of one; further off it is found "
        "much less often, so lay the tiles of an area close. A descriptor holds 10,752 numbers and takes seven passes "
        "through the aerial encoder. On real pictures it is well below what models trained on CVUSA or VIGOR reach "
        "there."
    ),
    "unet-ground-world": "The world's looks are simpler than a photograph's: expect coarse classes on real pictures.",
    "unet-aerial-world": (
        "The world's looks are simpler than a photograph's: expect coarse classes on real pictures. Sand, soil and "
        "gravel of deserts are often taken for one another."
    ),
    "depth-world": (
        "Metres assume a camera 1.6–3 m above the ground; thin things and glass are often wrong. What may be sky or a "
        "twig gets the depth of the twig. The scale that all pixels share stopped learning early and is a constant: "
        "the guess of the camera's height lies in every pixel, and a stated height scales the ground at its feet."
    ),
    "xfork-world": (
        "What the panorama does not show (roofs, what lies behind façades) is invented or blurred; colours are those "
        "of the world's sensors. Two fifths of the strips that it learned from showed less than a full turn, from 70° "
        "on: what lies outside of them is a guess, and `Synthesis.seen` says where that is."
    ),
    "xfork-edges-world": (
        "What the panorama does not show is invented or blurred. It never saw views of less than a full turn. It has "
        "fewer channels than `xfork-world` and was trained otherwise: what edges add is not told by comparing the two."
    ),
    "pix2pix-world": (
        "Most of its fine detail is the bird's-eye projection's own, with the streaks of what stands upright; the "
        "colours and what lies between are drawn."
    ),
    "rgbds-world": (
        "What the panorama does not show is guessed and blurred. Roofs, trees, sand and water have colours by which "
        "their classes are told apart, seldom the place's own. The depths that it was trained on were those of an "
        "earlier `depth-world`, whose relative error was half as large again, and the classes those of an earlier "
        "`unet-ground-world`."
    ),
    "xfork-ground-world": (
        "A tile does not show façades: they are invented or blurred. The camera is taken to stand 2.5 m above "
        "the middle."
    ),
    "clip-diffusion-world": (
        "What the panorama does not show is invented, differently for each seed: not evidence of what is there. "
        "Trained for 115,000 pairs only: with guidance, roads, houses and trees are where they belong, but blurred and "
        "smeared away from the camera, with colours by which their classes are told apart, seldom the place's own. The "
        "tower's tokens tell it next to nothing: all it knows of the place comes from the bird's-eye view and the "
        "columns along their rays. Meant for full panoramas with ±45° of elevation."
    ),
    **dict.fromkeys(("joint-fusion-vgg-world", "gasc-fusion-world"), FUSED),
    **measures.LIMITS,
    **recipes_places.LIMITS,
}
LIMITS |= {name: f"{LIMITS.get(name, UNTOLD)} {EARLIER}" for name in LEARNED_EARLIER}


def finish(
    name: str,
    model: Any,
    settings: Settings,
    out: Path,
    *,
    weights: Path | None = None,
    smoke: bool = False,
    real: Real | None = None,
    places: Path | None = None,
) -> dict[str, Any]:
    """Evaluate a trained model, save it again (calibrated), and write its card.

    Args:
        name: of the recipe.
        model: in evaluation mode.
        settings: of the run.
        out: folder of the run; gets `evaluation.json`, `model/` and `card.md`.
        weights: folder of bundled weights; gets `<name>/`; with the package's own the card goes to `model_cards`.
        smoke: measure on a tiny world only.
        real: real pairs to report beside the worlds.
        places: place-recognition folder of a model that was trained on one.
    """
    calibration = calibrate(name, model, smoke, places)
    rows, results = measure(name, model, smoke, places)
    if real is not None:
        more, results["real"] = on_real_pairs(name, model, real)
        rows += more
    results["calibration"] = calibration
    model.save_pretrained(out / "model")
    write_json(out / "evaluation.json", results)
    text = card(name, settings, rows, count_of(model), _minutes(out))
    (out / "card.md").write_text(text, encoding="utf-8")
    if weights is not None:
        target = weights / name
        with atomic_path(target) as folder:
            model.save_pretrained(folder)
            (folder / "README.md").unlink(missing_ok=True)
        if weights.resolve() == zoo.WEIGHTS:
            zoo.CARDS.mkdir(exist_ok=True)
            (zoo.CARDS / f"{name}.md").write_text(text, encoding="utf-8")
    print(json.dumps(results))
    return results


def count_of(model: Any) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in model.parameters())


def _minutes(out: Path) -> float:
    """How long the run took in all: a resumed one counts its seconds from zero again."""
    lines = (out / "log.jsonl").read_text().splitlines() if (out / "log.jsonl").is_file() else []
    seconds = [json.loads(line)["seconds"] for line in lines]
    ends = [a for a, b in zip(seconds, [*seconds[1:], 0.0], strict=False) if b < a]
    return sum(ends) / 60


def calibrate(name: str, model: Any, smoke: bool = False, places: Path | None = None) -> Any:
    """Fit on validation worlds, or photographs, what a model's confidence rests on; what was fitted."""
    task, protocol = zoo.get(name).task, TINY if smoke else None
    if places is not None:
        from xview_demo.evaluation.places import calibrate_places

        return calibrate_places(model, places)
    if task == "matching" and hasattr(model, "rerank"):
        fit = evaluation.calibrate_fusion if model.searches else evaluation.calibrate_verifier
        return fit(model, measures.first_of(model, smoke), protocol)
    if task == "matching":
        return evaluation.calibrate(with_helpers(model, tiny=smoke), protocol)
    if task == "position":
        return evaluation.calibrate_position(model, protocol)
    if task == "segmentation" and model.view != "both":
        return evaluation.calibrate_classes(model, protocol)
    return None


def measure(name: str, model: Any, smoke: bool = False, places: Path | None = None) -> tuple[list[Row], dict[str, Any]]:
    """The numbers of a model as it is, as rows of its card and as the evaluations' own results."""
    task = zoo.get(name).task
    if task == "places":
        return _places(name, model, places)
    if task == "matching":
        return _matching(name, model, smoke)
    if task == "position":
        return measures.position(name, model, smoke)
    if task == "segmentation" and model.view == "both":
        return measures.both_views(name, model, smoke)
    protocol = TINY if smoke else None
    if task == "segmentation":
        result = evaluation.evaluate_segmentation(model, protocol=protocol) | {"model": name}
        command = f"xview evaluate segmentation --model {name}"
        return measures.by_class(result, "world test", command), {"segmentation": result}
    if task == "depth":
        result = evaluation.evaluate_depth(model, protocol=protocol) | {"model": name}
        command = f"xview evaluate depth --model {name}"
        values = {"AbsRel ≤ 60 m": f"{result['abs_rel']:.3f}"}
        values["AbsRel ≤ 60 m, height of the camera stated"] = f"{result['abs_rel_known_height']:.3f}"
        values["sky accuracy %"] = f"{result['sky_accuracy']:.1f}"
        values["AbsRel of the best constant per row"] = f"{result['chance']:.3f}"
        return [_row("world test", k, v, command) for k, v in values.items()], {"depth": result}
    return synthesis({name: model}, smoke)[name]


def _places(name: str, model: Any, root: Path | None) -> tuple[list[Row], dict[str, Any]]:
    """Recall before and after re-ranking on the test split of a folder, or of generated photographs."""
    from xview_demo.evaluation.places import evaluate_places
    from xview_demo.recognition import PlaceRecognizer

    result = evaluate_places([PlaceRecognizer(model, name)], root)
    where = f"world test photographs, {result['n']:,} queries, {result['gallery']:,} in the gallery"
    command, found = f"xview evaluate places --model {name}", result["combinations"][name]
    rows = []
    for stage, title in (("baseline", "retrieval"), ("reranked", f"first {result['rerank_k']} re-ranked")):
        rows += [_row(f"{where}, {title}", f"{k.upper()} %", f"{v:.1f}", command) for k, v in found[stage].items()]
        seconds = found["seconds_per_query"][stage]
        rows.append(_row(f"{where}, {title}", "seconds per query", f"{seconds:.2f}", command))
    return rows, {"places": result}


def _row(where: str, metric: str, value: str, command: str) -> Row:
    return where, metric, value, command


def _matching(name: str, model: Any, smoke: bool) -> tuple[list[Row], dict[str, Any]]:
    from xview_demo.evaluation.describing import describe_both
    from xview_demo.evaluation.retrieval import match

    if hasattr(model, "rerank"):
        return (measures.dense if model.searches else measures.verifier)(name, model, smoke)
    protocol = TINY if smoke else evaluation.Protocol()
    model = with_helpers(model, tiny=smoke)
    results: dict[str, Any] = {}
    known, unknown = describe_both(model, protocol, few=200)
    rows: list[Row] = []
    for heading, fov, asked in measures.asked_of(model.fields):
        found = (known if heading == "known" else unknown)[fov]
        result = {"model": name, "fov": fov, **match(model, found, heading)}
        results[f"heading {heading}, {fov:g}°"] = result
        command = f"xview evaluate matching --model {name} {asked}"
        command += f" --queries {result['n']}" if result["n"] < protocol.worlds * protocol.queries else ""
        rows += measures.retrieval(result, "world test", command)
    return rows, results


def synthesis(models: Mapping[str, Any], smoke: bool) -> dict[str, tuple[list[Row], dict[str, Any]]]:
    """Rows and results of generators that draw the same view, by name, each beside the projection and the mean view.

    What is true is looked at once for all of them. Needs the bundled segmenter of that view and the matcher.
    """
    draws = next(iter(models.values())).draws
    above = draws == AERIAL
    needed = {SEGMENTERS[draws], measures.FIRST, *(need for name in models for need in NEEDED.get(name, ()))}
    missing = [name for name in sorted(needed) if not zoo.is_bundled(name)]
    if missing and not smoke:
        print(f"no evaluation: {' and '.join(missing)} must be trained and bundled first")
    if missing:
        return {name: ([], {}) for name in models}
    options: dict[str, Any] = {"protocol": TINY} if smoke else {} if above else {"n": 200}  # panoramas are slow to read
    floor = "bird-eye" if above else "street-eye"
    samples = any(model.samples for model in models.values())
    result = evaluation.evaluate_synthesis({floor: zoo.load(floor), **models}, ablate=samples, **options)
    return {name: _beside(floor, name, model, result) for name, model in models.items()}


def _beside(floor: str, name: str, model: Any, result: dict[str, Any]) -> tuple[list[Row], dict[str, Any]]:
    """One generator's rows and results of those of several: its own, the projection's and the mean view's."""
    own = (floor, name, name + BLIND)
    methods = {k: v for k, v in result["methods"].items() if k in own or k.startswith("mean-")}
    command = f"xview evaluate synthesis --method {floor} --method {name}"
    command += ("" if model.draws == AERIAL else " --n 200") + (" --ablate" if model.samples else "")
    rows = []
    for method, values in methods.items():
        for metric, value in values.items():
            rows.append(_row(f"world test, {method}", metric, f"{value:.{1 if '@' in metric else 3}f}", command))
    return rows, {"synthesis": {**result, "model": name, "methods": methods}}


def on_real_pairs(name: str, model: Any, real: Real) -> tuple[list[Row], dict[str, Any]]:
    """What `xview evaluate real` measures of a model, if its task is one of those."""
    task, scales = zoo.get(name).task, evaluation.parse_scales(real.scales)
    asked = f"--model {name}" if not hasattr(model, "rerank") else f"--model {measures.FIRST} --rerank {name}"
    command = f"xview evaluate real --task {task} {asked} --root DIR"
    scaled = " ".join([command, *(f"--scale {scale}" for scale in real.scales)])
    rows: list[Row] = []
    results: dict[str, Any] = {}
    if task == "position":
        return measures.on_real_pairs(model, real.folder, scales, scaled)
    if task == "matching":
        first = {"rerank": None} if not hasattr(model, "rerank") else {"model": measures.FIRST, "rerank": model}
        for heading, distractors in product(("known", "unknown"), (0, DISTRACTORS)):
            result = evaluation.evaluate_real_pairs(
                real.folder, **{"model": model} | first, heading=heading, metres_per_pixel=scales,
                distractors=distractors,
            )  # fmt: skip
            result |= {"rerank": name} if "rerank" in result else {"model": name}
            among = f" --distractors {distractors}" if distractors else ""
            results[f"heading {heading}{among}"] = result
            rows += measures.retrieval(result, "real pairs (validation only)", f"{scaled} --heading {heading}{among}")
    elif task == "segmentation":
        results = evaluation.evaluate_real_segmentation(real.folder, model)
        for kind, result in results["labels"].items():
            rows += measures.by_class(result, f"{result['n']} real views (validation only), {kind}", command)
    elif task == "synthesis" and model.draws == AERIAL:
        methods = {"bird-eye": zoo.load("bird-eye"), name: model}
        results = evaluation.evaluate_real_synthesis(real.folder, methods, metres_per_pixel=scales)
        for method, values in results["methods"].items():
            where = f"{results['n']} real pairs (validation only), {method}"
            rows += [_row(where, metric, f"{value:.3f}", scaled) for metric, value in values.items()]
    return rows, results


def card(name: str, settings: Settings, rows: list[Row], parameters: int, minutes: float) -> str:
    """The text of a card: front matter with a model index, what it is, numbers, training, limits."""
    entry = zoo.get(name)
    lines = ["---", "license: apache-2.0", "library_name: xview_demo", "tags:", "- cross-view-geo-localization"]
    lines += [f"- {entry.task}", "model-index:", f"- name: {name}", "  results:"]
    lines += _index(entry.task, rows) or ["  []"]
    lines += ["---", "", f"# {name}", "", ABOUT.get(name, entry.summary), ""]
    stored = " of 8 bits" if name in RECIPES and RECIPES[name].compressed else ""
    lines += [f"{parameters / 1e6:.2f} M parameters{stored}, {entry.summary}.", "", "## Numbers", ""]
    lines += _table(rows)
    lines += ["", f"{NOTE}{VERSION}.", ""]
    lines += ["## Training", "", f"`python -m train {name} --steps {settings.steps} --seed {settings.seed}`, "
              f"about {minutes:.0f} minutes on the machine it was trained on, nothing but the procedural world, "
              f"version {VERSION} (training seeds; test seeds were never used).", ""]  # fmt: skip
    lines += ["```json", json.dumps(asdict(settings), indent=1), "```", ""]
    lines += ["## Limits", "", LIMITS.get(name, UNTOLD), ""]
    return with_pictures(name, "\n".join(lines))


def with_numbers(text: str, rows: list[Row]) -> str:
    """A card with other numbers in it, of the worlds of today, and nothing else changed."""
    lines = text.split("\n")
    first = lines.index("  results:") + 1
    lines[first : lines.index("---", first)] = _index(zoo.get(lines[first - 2].split()[-1]).task, rows)
    first = lines.index(HEAD[0])
    size = next(n for n, line in enumerate(lines[first:]) if not line.startswith("|"))
    lines[first : first + size] = _table(rows)
    note = next(n for n, line in enumerate(lines) if line.startswith(NOTE))
    lines[note] = f"{NOTE}{VERSION}."
    return "\n".join(lines)


def version_of(text: str) -> int:
    """The version of the worlds that a card's numbers were measured on."""
    return int(text.split(NOTE)[1].split(".")[0])


def rows_of(text: str) -> list[Row]:
    """The rows of a card's table of numbers."""
    lines = text.split("\n")
    cells = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ") and line not in HEAD]
    return [(where, metric, value, command.strip("`")) for where, metric, value, command in cells]


def _table(rows: list[Row]) -> list[str]:
    lines = [f"| {where} | {metric} | {value} | `{command}` |" for where, metric, value, command in rows]
    return [*HEAD, *(lines or ["| – | – | not measured yet | – |"])]


def _index(task: str, rows: list[Row]) -> list[str]:
    lines = []
    for where, metric, value, _ in rows:
        kind = "procedural-world" if where.startswith("world") else "real-pairs"
        lines += [f"  - task: {{type: {task}}}", f'    dataset: {{name: "{where}", type: {kind}}}']
        lines += [f'    metrics: [{{type: "{metric}", value: {value.split()[0]}}}]']
    return lines
