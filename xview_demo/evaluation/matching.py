"""Matchers: a thousand queries against ten thousand tiles, and the temperature of the confidence."""

from pathlib import Path
from typing import Any

from xview_demo.data.index import PairIndex
from xview_demo.evaluation.describing import HEADINGS, Descriptors, describe, describe_both, describe_index
from xview_demo.evaluation.protocol import VALIDATION, Progress, Protocol, fit_temperature, model_of
from xview_demo.evaluation.reranking import reranked
from xview_demo.evaluation.retrieval import recalled, search


def evaluate_matching(
    model: Any = "azimuth-world",
    *,
    heading: str = "known",
    fov: float = 360.0,
    queries: int | None = None,
    gallery: int | None = None,
    rerank: Any = None,
    index: PairIndex | None = None,
    figures: str | Path | None = None,
    protocol: Protocol | None = None,
    progress: Progress | None = None,
    world: Any = None,
) -> dict[str, Any]:
    """1,000 queries against 10,000 tiles of forty test worlds, or a data set.

    Args:
        model: name, folder or repository, or the matcher itself.
        heading: "known" (the query is turned to north) or "unknown" (searched).
        fov: degrees around its middle that a query shows.
        queries, gallery: smaller numbers, for a quick look.
        rerank: a dense matcher or a verifier that judges the first 50 tiles anew.
        index: a data set in the place of the worlds.
        figures: folder for pictures of the result (see `retrieval_figures`).
        protocol: other worlds.
        progress: called with (worlds done, worlds in all).
        world: stand-in for `World`.
    """
    matcher, name = model_of(model, "matching")
    protocol = (protocol or Protocol()).scaled(queries, gallery)
    if index is not None and queries is not None:
        index = index.subset(queries)

    def described(of: Any, told: Progress | None = None) -> Descriptors:
        if index is not None:
            return describe_index(of, index, fov=fov, pictures=figures is not None, headings=(heading,))
        return describe(of, protocol, told, world, fov=fov, pictures=figures is not None, headings=(heading,))

    found = described(matcher, progress)
    searched = search(matcher, found, heading)
    result: dict[str, Any] = {"model": name, "seeds": protocol.seeds, "fov": fov}
    if index is not None:
        result |= {"seeds": None, "data": index.name, "split": index.split}
    if rerank is not None:
        dense, result["rerank"] = model_of(rerank, "matching")
        searched = reranked(dense, searched, described(dense), heading)
    result |= recalled(searched, found)
    if figures is not None:
        from xview_demo.evaluation.retrieval_figures import write_figures

        result["figures"] = [str(path) for path in write_figures(Path(figures), searched, found, result)]
    return result


def calibrate(matcher: Any, protocol: Protocol | None = None, world: Any = None) -> dict[str, float]:
    """Fit a matcher's temperatures, of each of its fields of view, on validation worlds.

    There are 500 queries and 2,000 tiles; see `describe_both` for those of unknown heading.
    """
    protocol = protocol or Protocol(first_seed=VALIDATION, worlds=20, queries=25, tiles=100, size=700.0)
    found, turned = describe_both(matcher, protocol, few=100, world=world)
    fitted = {}
    for fov in matcher.fields:
        north, own = found[fov], turned[fov]
        known = fit_temperature(matcher.aligned(north.north, north.gallery).numpy(), north.truth)
        fitted[fov] = known, fit_temperature(matcher.score(own.own, own.gallery)[0].numpy(), own.truth)
    matcher.calibrate(fitted)
    return {f"{kind}, {fov:g}°": t for fov, pair in fitted.items() for kind, t in zip(HEADINGS, pair, strict=True)}
