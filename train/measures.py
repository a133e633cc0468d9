"""What stands in the cards of what judges tiles, finds positions, or segments both views."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from xview_demo import evaluation, zoo

FIRST = "azimuth-world"  # the matcher whose tiles are re-ranked
Row = tuple[str, str, str, str]  # what is measured, metric, value, command
TINY = evaluation.Protocol(worlds=1, queries=3, tiles=3, size=260.0, resolution=1.0)

ABOUT: dict[str, str] = {
    "azimuth-verifier-world": (
        "Judges the first fifty tiles that `azimuth-world` finds, whose mistakes it learned from. A tile is unrolled "
        "around the place and at the heading that were found, laid upon the panorama's own polar pictures, and one "
        "network sees all of it: what lies at the same bearing and distance in both is compared itself, not by "
        "descriptors. The evidence is summed over the bearings that a view shows, so that a narrow one has less to "
        "say. The first matcher's score counts beside it; weights and temperatures were fitted on validation worlds."
    ),
    "bird-eye-features-world": (
        "Lays the bird's-eye view of a panorama over a tile, as maps of learned features, and takes the best position, "
        "heading and camera height. It re-ranks what `azimuth-world` finds: dense geometry carries over from generated "
        "worlds to photographs better than a global descriptor does. Its score counts with the first matcher's; the "
        "weights were chosen on the fifteen real pairs, the temperatures of the confidence on validation worlds."
    ),
    "segformer-world": (
        "A small SegFormer that names the class of every pixel of a panorama or of an aerial tile.\n\n"
        "As a teacher: of two U-Nets trained alike for 1,500 steps, the one that learned from true labels of aerial "
        "tiles reaches mIoU 0.593 on 200 test tiles (building 0.485, boundary F 0.439), the one that learned from this "
        "model's labels 0.521 (building 0.330, boundary F 0.387). An eighth of the mean IoU is lost, a third of the "
        "buildings', and sharp edges. (Both on every third picture of an earlier world, which named fences and poles "
        "half a metre wide.) To repeat it: `python -m train NAME --steps 1500 --no-evaluation --out DIR` with "
        "`unet-aerial-world` and with `unet-pseudo-world`, each followed by `xview evaluate segmentation --model "
        "DIR/model`."
    ),
    "segformer-ade20k": (
        "NVIDIA's SegFormer-B3, fine-tuned on ADE20K and then on the eight classes of generated worlds. Its weights "
        "are under NVIDIA's licence: research and evaluation only, no commercial use."
    ),
    "unet-pseudo-world": (
        "A U-Net that names the class of every pixel of an aerial view, trained on a SegFormer's labels instead of "
        "true ones: what is lost shows beside unet-aerial-world."
    ),
    "mst-world": (
        "A CrossFormer with its decoder and, beside it, a U-Net (ours) that starts from unet-aerial-world name the "
        "land cover of a 64 m tile; what the panorama shows around the camera is laid out as seen from above and "
        "compared with every place of the tile. The result is a probability over cells of 1 m, calibrated on "
        "validation worlds. Land cover: vegetation is tree, every open surface that is no road counts as other paved."
    ),
    "featup-world": (
        "As mst-world, with a small backbone whose features are drawn up to 1 m cells by a joint bilateral upsampler "
        "that the picture guides."
    ),
}
LIMITS: dict[str, str] = {
    "azimuth-verifier-world": (
        "It does not search: a tile that is not among the first fifty is not found, nor is another heading or place "
        "than the first matcher's. Trained on worlds only, whose looks it knows better than a photograph's: on real "
        "pairs it is right as often as that first matcher alone; of unknown heading, `bird-eye-features-world`, the "
        "demo's judge, is right more often."
    ),
    "bird-eye-features-world": (
        "It compares what lies within 24 m of the camera on flat ground; the camera may be 3.2 m off the tile's "
        "centre along each axis. Too slow to search thousands of tiles by itself."
    ),
    "mst-world": (
        "Trained with the heading known to about a degree and the camera at most 20 m off the tile's centre; an "
        "unknown heading is searched among 24. Coverage is right on such worlds, not promised elsewhere. It started "
        "from the `unet-aerial-world` before the bundled one."
    ),
    "featup-world": "Those of mst-world.",
    "segformer-world": "The world's looks are simpler than a photograph's: expect coarse classes on real pictures.",
    "unet-pseudo-world": "It repeats the errors of the model whose labels it learned from.",
}


def retrieval(result: dict[str, Any], where: str, command: str) -> list[Row]:
    """Rows of what a search found."""
    where = f"{where}, {result['n']:,} queries, {result['gallery']:,} tiles, heading {result['heading']}"
    where += f", {result['fov']:g}° wide" if result.get("fov", 360) < 360 else ""
    where += f", {result['rerank']} judges the first 50" if result.get("rerank") else ""
    low, high = result["interval"]
    values = {"R@1 %": f"{result['r@1']:.1f} ({low:.1f}–{high:.1f})"}
    values |= {f"{k.upper()} %": f"{result[k]:.1f}" for k in ("r@5", "r@10", "r@1%")}
    if result["heading_error_deg"] is not None:
        values["median heading error °"] = f"{result['heading_error_deg']:.2f}"
    if result.get("listed_of_right") is not None and result["gallery"] >= 1000:  # a tenth of few tiles says nothing
        values["right matches on the shortlist of a large gallery %"] = f"{result['listed_of_right']:.1f}"
    values["calibration error %"] = f"{100 * result['reliability']['ece']:.1f}"
    values["right among the most confident half %"] = f"{result['abstention']['50']:.1f}"
    return [(where, metric, value, command) for metric, value in values.items()]


def asked_of(fields: Sequence[float]) -> Iterator[tuple[str, float, str]]:
    """What a card shows of a matcher: heading, field of view in degrees, and the options that ask for it."""
    for heading, fov in (("known", fields[0]), *(("unknown", fov) for fov in fields)):
        yield heading, fov, f"--heading {heading}" + (f" --fov {fov:g}" if fov < 360 else "")


def first_of(judge: Any, smoke: bool) -> Any:
    """The matcher whose tiles a judge re-ranks; for a smoke test, or where none is bundled, a stand-in."""
    if smoke and judge.searches:
        return judge
    return zoo.load(FIRST) if zoo.is_bundled(FIRST) else zoo.get(FIRST).load_class()(**zoo.get(FIRST).tiny).eval()


def dense(name: str, model: Any, smoke: bool) -> tuple[list[Row], dict[str, Any]]:
    """A dense matcher by itself, heading known, and as what re-ranks another: rows of its card, and results."""
    from xview_demo.evaluation.describing import describe
    from xview_demo.evaluation.retrieval import match

    protocol = TINY if smoke else evaluation.Protocol().scaled(100, 500)
    first = first_of(model, smoke)
    alone = {"model": name, "seeds": protocol.seeds, **match(model, describe(model, protocol), "known")}
    results: dict[str, Any] = {"alone": alone}
    command = f"xview evaluate matching --model {name} --queries 100 --gallery 500"
    found = retrieval(alone, "world test", command)
    whole = TINY if smoke else evaluation.Protocol().scaled(100, 2000)
    for heading in ("known", "unknown"):
        for rerank in (None, model):
            result = evaluation.evaluate_matching(first, heading=heading, rerank=rerank, protocol=whole)
            results[f"{FIRST}{'' if rerank is None else ' and ' + name}, heading {heading}"] = result
            result |= {} if rerank is None else {"rerank": name}
            command = f"xview evaluate matching --model {FIRST} --queries 100 --gallery 2000 --heading {heading}"
            found += retrieval(result, "world test", command + ("" if rerank is None else f" --rerank {name}"))
    return found, results


def verifier(name: str, model: Any, smoke: bool) -> tuple[list[Row], dict[str, Any]]:
    """What judges the first matcher's best tiles, at each of its fields of view: rows of the card, and results."""
    from xview_demo.evaluation.describing import describe_each
    from xview_demo.evaluation.reranking import reranked
    from xview_demo.evaluation.retrieval import recalled, search

    protocol = TINY if smoke else evaluation.Protocol()
    first = first_of(model, smoke)
    results: dict[str, Any] = {}
    seen, judged = (describe_each(of, protocol, first.fields) for of in (first, model))
    rows: list[Row] = []
    for heading, fov, asked in asked_of(first.fields):
        found = reranked(model, search(first, seen[fov], heading), judged[fov], heading)
        result = {"model": FIRST, "rerank": name, "fov": fov, "seeds": protocol.seeds, **recalled(found, seen[fov])}
        results[f"heading {heading}, {fov:g}°"] = result
        rows += retrieval(result, "world test", f"xview evaluate matching --model {FIRST} --rerank {name} {asked}")
    return rows, results


def both_views(name: str, model: Any, smoke: bool) -> tuple[list[Row], dict[str, Any]]:
    """IoU and boundary F-score of a segmenter in panoramas and in tiles: rows of its card, and results."""
    found: list[Row] = []
    results: dict[str, Any] = {}
    for view, what in (("ground", "panoramas"), ("aerial", "tiles")):
        protocol = TINY if smoke else None
        result = evaluation.evaluate_segmentation(model, protocol=protocol, view=view) | {"model": name}
        command, where = f"xview evaluate segmentation --model {name} --view {view}", f"world test, {what}"
        found += by_class(result, where, command)
        results[f"segmentation {view}"] = result
    return found, results


def by_class(scores: dict[str, Any], where: str, command: str, what: str = "") -> list[Row]:
    """The rows of `metrics.by_class`'s scores: each class beside chance."""
    values = {f"{what}mIoU": f"{scores['miou']:.3f} ({scores['chance']:.3f} for the commonest class alone)"}
    if "boundary_f" in scores:
        values["boundary F (2 px)"] = f"{scores['boundary_f']:.3f}"
    for name, value in scores["iou"].items():
        if value is not None:
            values[f"{what}IoU {name}"] = f"{value:.3f} ({scores['chance_iou'][name]:.3f} at random)"
    return [(where, metric, value, command) for metric, value in values.items()]


def position(name: str, model: Any, smoke: bool) -> tuple[list[Row], dict[str, Any]]:
    """Evaluate a position model on test worlds: rows of its card, and results."""
    result = evaluation.evaluate_position(model, protocol=TINY if smoke else None) | {"model": name}
    found, results = rows(name, result), {"position": result}
    if not smoke and zoo.is_bundled(FIRST):
        results["refinement"] = evaluation.evaluate_refinement(FIRST, model) | {"model": name}
        found += refinement(name, results["refinement"])
    return found, results


def refinement(name: str, result: dict[str, Any]) -> list[Row]:
    """The rows of `evaluate_refinement`'s result."""
    where = f"world test, {result['correct']} right matches of {result['n']} in a grid of {result['stride_m']:g} m"
    values = {f"median error m, {stage}": f"{result[key]['median_m']:.2f}" for key, stage in
              (("centre", "tile's centre"), ("refined", "refined")) if result[key]}  # fmt: skip
    if result["factor"]:
        values["factor"] = f"{result['factor']:.1f}"
    return [(where, metric, value, f"xview evaluate refinement --model {name}") for metric, value in values.items()]


def on_real_pairs(model: Any, folder: Path, scales: dict[str, float], command: str) -> tuple[list[Row], dict[str, Any]]:
    """Position and land cover of a position model on real tiles: rows of its card, and results."""
    result = evaluation.evaluate_real_position(folder, model, metres_per_pixel=scales)
    where = f"{result['n']} real tiles (validation only)"
    low, high = result["interval"]
    values = {"mean error m": f"{result['mean_m']:.1f} ({low:.1f}–{high:.1f})"}
    values["mean error of the tile's centre m"] = f"{result['chance']['mean_m']:.1f}"
    values |= {f"coverage of the {mass} set %": f"{share:.0f}" for mass, share in result["coverage"].items()}
    values["correlation with the sightline map"] = f"{result['sightline']['correlation']:.2f}"
    values["correlation of the view from the tile's centre"] = f"{result['sightline']['chance']:.2f}"
    found = [(where, metric, value, command) for metric, value in values.items()]
    return found + by_class(result["landcover"], where, command, "land-cover "), result


def rows(name: str, result: dict[str, Any]) -> list[Row]:
    """The rows of `evaluate_position`'s result."""
    command = f"xview evaluate position --model {name}"
    where = f"world test, {result['n']} tiles, camera up to {result['reach_m']:g} m off-centre"
    low, high = result["interval"]
    values = {"mean error m": f"{result['mean_m']:.2f} ({low:.2f}–{high:.2f})"}
    values["mean error of the tile's centre m"] = f"{result['chance']['mean_m']:.2f}"
    values["median error m"] = f"{result['median_m']:.2f}"
    values |= {f"within {k} m %": f"{result[f'r@{k}m']:.1f}" for k in (1, 3, 5, 10)}
    values |= {f"true place in the first {k} regions %": f"{result[f'region_r@{k}']:.1f}" for k in (1, 3)}
    values |= {
        f"coverage of the {mass} set %": f"{share:.1f} ({result['stated'][mass]:.1f} stated)"
        for mass, share in result["coverage"].items()
    }
    found = [(where, metric, value, command) for metric, value in values.items()]
    return found + by_class(result["landcover"], where, command, "land-cover ")
