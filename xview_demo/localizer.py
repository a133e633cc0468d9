"""`GeoLocalizer`: one object for the whole chain, the only place where the model families meet.

A ground view goes in; its aerial view, classes, depth, descriptors, and its place in a gallery come out.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xview_demo import zoo
from xview_demo.composed import Composed
from xview_demo.devices import device_of
from xview_demo.errors import ModelError
from xview_demo.files import atomic_path, write_json
from xview_demo.frames import STRIP, TILE_PIXELS, aerial_frame, ground_frame, looked_towards
from xview_demo.gallery import Gallery
from xview_demo.geometry import resize
from xview_demo.geometry.overhead import TILE_METRES
from xview_demo.geometry.regions import Region
from xview_demo.locating import Locating
from xview_demo.models.hub import digest
from xview_demo.outputs import Depth, Localization, Segmentation, Synthesis
from xview_demo.recognition import PlaceRecognizer
from xview_demo.recognition.overlaying import TileReranker
from xview_demo.recognition.ranking import RERANKED, Reranker, answer
from xview_demo.views import AerialView, GroundView

REVERSE = ("xfork-ground-world", "street-eye")  # what draws panoramas from tiles; the first that is bundled
LARGEST = 4_000_000  # pixels up to which class scores are kept at the picture's own size
PARTS = {
    "matching": ("matching", "azimuth-world"),
    "synthesis": ("synthesis", "xfork-world"),
    "segmentation_ground": ("segmentation", "unet-ground-world"),
    "segmentation_aerial": ("segmentation", "unet-aerial-world"),
    "depth": ("depth", "depth-world"),
    "position": ("position", "mst-world"),
    "places": ("places", "geowarp-vgg16-gem-world"),
    "reranking": ("matching", "bird-eye-features-world"),
}
OPTIONAL = ("position", "places", "reranking")  # parts that may lack their bundled weights
FORMAT = 1


class _Known:
    """Scorer for queries whose descriptors are turned to north already."""

    def __init__(self, matcher: Any, heading: float) -> None:
        self.matcher, self.heading = matcher, heading

    def score(self, query: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Scores at the known heading, and that heading."""
        scores = self.matcher.aligned(query, reference)
        return scores, torch.full_like(scores, self.heading)


class GeoLocalizer(Locating):
    """The models of every task, composed.

    Build one with `from_pretrained` (everything) or `from_zoo` (chosen parts); models are loaded at first use.

    Attributes:
        names: part → name in the zoo, directory or repository.
        device, dtype: where and in which precision the networks run.
    """

    def __init__(
        self,
        parts: dict[str, Any],
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype = "auto",
        local_files_only: bool = False,
    ) -> None:
        _check_parts(parts)
        self.names: dict[str, str] = {part: zoo.as_text(name) for part, name in parts.items() if name is not None}
        self.device = device_of(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.dtype = _dtype(dtype, self.device)
        self._local = local_files_only
        self._folders: dict[str, Path] = {}
        self._models: dict[str, Any] = {}
        self._recognizers: dict[str, PlaceRecognizer] = {}
        self._tile_rerankers: dict[str, TileReranker] = {}

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike[str] | None = None,
        *,
        revision: str | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype = "auto",
        local_files_only: bool = False,
    ) -> Self:
        """The bundled zoo, or a localizer kept in a directory or a Hub repository.

        Args:
            source: None for the bundled models (no network); a folder written by `save_pretrained`; `owner/name`.
            revision: branch, tag or commit of the repository.
            device: "cpu", "cuda", "mps", …, what this machine has; chosen when None.
            dtype: "auto" (float32; bfloat16 on a GPU), "float32", "bfloat16" or "float16".
            local_files_only: never ask the network.

        Raises:
            ModelError: nothing there, a single model, weights that do not fit, no network or no such device; the
                message names the remedies.
        """
        options: dict[str, Any] = {"device": device, "dtype": dtype, "local_files_only": local_files_only}
        if source is None:
            geo = cls(_present({part: name for part, (_, name) in PARTS.items()}), **options)
            geo._check_bundled()
            return geo
        name = zoo.as_text(source)
        if name in zoo.ZOO:
            raise _single(name, zoo.ZOO[name], zoo.ZOO[name].view)
        folder = Path(name)
        if not folder.is_dir():
            folder = zoo.fetch(name, ("config.json",), revision=revision, local_files_only=local_files_only)
        elif not (folder / "config.json").is_file():
            raise ModelError(f"{folder} has no config.json: give a folder written by GeoLocalizer.save_pretrained.")
        config = zoo.read_config(folder)
        if (entry := zoo.entry_of_class(config.get("class"))) is not None:
            raise _single(name, entry, config.get("view", entry.view))
        if config.get("class") != cls.__name__ or config.get("format") != FORMAT:
            raise ModelError(
                f"{name} holds no GeoLocalizer that this version reads: give what GeoLocalizer.save_pretrained wrote."
            )
        geo = cls({part: entry["name"] for part, entry in config["parts"].items()}, **options)
        kept = {part: entry["folder"] for part, entry in config["parts"].items() if entry.get("folder")}
        if not Path(name).is_dir():
            files = tuple(f"{place}/{file}" for place in kept.values() for file in zoo.FILES)
            zoo.fetch(name, ("config.json", *files), revision=folder.name, local_files_only=local_files_only)
        geo._folders = {part: folder / place for part, place in kept.items()}
        return geo

    @classmethod
    def from_zoo(
        cls,
        *,
        matching: str | None = PARTS["matching"][1],
        synthesis: str | None = PARTS["synthesis"][1],
        segmentation_ground: str | None = PARTS["segmentation_ground"][1],
        segmentation_aerial: str | None = PARTS["segmentation_aerial"][1],
        depth: str | None = PARTS["depth"][1],
        position: str | None = PARTS["position"][1],
        places: str | None = PARTS["places"][1],
        reranking: str | None = PARTS["reranking"][1],
        device: str | torch.device | None = None,
        dtype: str | torch.dtype = "auto",
        local_files_only: bool = False,
    ) -> Self:
        """Pick the parts: each a name of `list_models()`, a directory or a repository; None leaves it out.

        A directory that is called like a model of the zoo is written as a path, `./NAME`.
        `places` encodes galleries of photographs; without it the matcher does. `reranking` judges the best tiles of
        `localize` anew.
        """
        chosen = {
            "matching": matching, "synthesis": synthesis, "segmentation_ground": segmentation_ground,
            "segmentation_aerial": segmentation_aerial, "depth": depth, "position": position,
            "places": places, "reranking": reranking,
        }  # fmt: skip
        for part, name in chosen.items():
            if name is not None and name in zoo.ZOO:
                zoo._check_task(name, zoo.ZOO[name].task, PARTS[part][0])
            elif name is not None and "/" not in name and not os.path.isdir(name):
                zoo.get(name)
        return cls(_present(chosen), device=device, dtype=dtype, local_files_only=local_files_only)

    def _check_bundled(self) -> None:
        for name in self.names.values():
            zoo.locate(name)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> Path:
        """Write every part and a `config.json` into a folder that `from_pretrained` loads again."""
        target = Path(folder)
        if target.is_file() or (target.is_dir() and any(target.iterdir()) and not (target / "config.json").is_file()):
            raise ModelError(f"{target} already holds something else: choose another folder.")
        parts: dict[str, Any] = {}
        with atomic_path(target) as temporary:
            temporary.mkdir(parents=True)
            for part, name in self.names.items():
                model = self._part(part)
                parts[part] = {"name": name, "folder": None}
                if hasattr(model, "save_pretrained"):
                    parts[part]["folder"] = part
                    model.save_pretrained(temporary / part)
            write_json(temporary / "config.json", {"class": type(self).__name__, "format": FORMAT, "parts": parts})
        return target

    def push_to_hub(self, repository: str, *, private: bool = False, token: str | None = None) -> str:
        """Upload what `save_pretrained` writes to a repository of the Hub, made if need be; returns its address."""
        import tempfile

        from huggingface_hub import HfApi

        api = HfApi(token=token)
        with tempfile.TemporaryDirectory() as folder:
            written = self.save_pretrained(Path(folder) / "localizer")
            address = api.create_repo(repository, private=private, exist_ok=True)
            api.upload_folder(repo_id=repository, folder_path=written, commit_message="Upload GeoLocalizer")
        return str(address)

    # Parts

    def use(self, part: str, name: str) -> None:
        """Put another model (a name of the zoo, directory or repository) in the place of a part, kept weights or not.

        Raises:
            ModelError: no such part.
        """
        _check_parts((part,))
        self.names[part] = zoo.as_text(name)
        self._folders.pop(part, None)
        for made in (self._models, self._recognizers, self._tile_rerankers):
            made.clear()
        for kept in ("fingerprint", "places"):
            self.__dict__.pop(kept, None)

    def _part(self, part: str, name: str | None = None) -> Any:
        """The model of a part (or another of its task), loaded at first use."""
        wanted = name or self.names.get(part)
        if wanted is None:
            raise ModelError(f"This localizer has no {part}: build it with from_zoo({part}=…).")
        key = f"{part}:{wanted}"
        if key not in self._models:
            place = self._folders.get(part, wanted) if wanted == self.names.get(part) else wanted
            task = PARTS[part][0]
            model = zoo.load(place, task=task, local_files_only=self._local)
            self._models[key] = model.to(self.device).eval() if isinstance(model, nn.Module) else model
        return self._models[key]

    def _run(self, function: Any, *arguments: Any, **keywords: Any) -> Any:
        half = self.dtype != torch.float32
        with torch.inference_mode(), torch.autocast(self.device.type, self.dtype, enabled=half):
            return function(*arguments, **keywords)

    @cached_property
    def fingerprint(self) -> str:
        """Name and hash of the matcher's weights: changes whenever the descriptors would."""
        return f"{Path(self.names['matching']).name}:{digest(self._part('matching'))}"

    @cached_property
    def places(self) -> PlaceRecognizer | None:
        """What encodes and searches galleries of photographs; None without that part, the matcher then does."""
        return self._recognizer(self.names["places"]) if "places" in self.names else None

    def _recognizer(self, name: str) -> PlaceRecognizer:
        if name not in self._recognizers:
            self._recognizers[name] = PlaceRecognizer(self._part("places", name), name, self.device)
        return self._recognizers[name]

    # Descriptors

    def embed_ground(self, views: Sequence[GroundView] | GroundView) -> np.ndarray:
        """Descriptors (N, D) float32, unit length.

        A view with a known heading is turned to north first; otherwise the descriptor is in the camera's own frame.
        """
        return self._described(views, self._composed().encode_ground)

    def _composed(self) -> Composed:
        """The matcher with this localizer's synthesis and segmentation, for those that look at more than the strip."""
        parts = ("synthesis", "segmentation_aerial")
        return Composed(self._part("matching"), *(partial(self._part, part) for part in parts))

    def _described(self, views: Sequence[GroundView] | GroundView, encode: Callable[..., Tensor]) -> np.ndarray:
        strips = [view.strip(north=view.heading is not None) for view in _several(views)]
        image = torch.stack([s for s, _ in strips]).to(self.device)
        mask = torch.stack([m for _, m in strips]).to(self.device)
        return self._run(encode, image, mask).float().cpu().numpy()

    def embed_aerial(self, views: Sequence[AerialView] | AerialView) -> np.ndarray:
        """Descriptors (N, D) float32, unit length, of tiles 64 m wide; they depend on the tile alone."""
        tiles = torch.stack([view.tile(TILE_METRES, TILE_PIXELS) for view in _several(views)]).to(self.device)
        return self._run(self._part("matching").encode_aerial, tiles).float().cpu().numpy()

    # Pictures

    def synthesize(
        self, view: GroundView | AerialView, method: str | None = None, seed: int = 0, **sampling: Any
    ) -> Synthesis:
        """The aerial view of a ground view, or the panorama that is seen from the middle of an aerial view.

        An aerial view comes out north up when the ground view's heading is known, else its centre column is up; a
        panorama looks north. Classes are the method's own, else those of this localizer's segmenter.

        Args:
            view: panorama, photograph (what it does not show is left to the method) or aerial picture (its middle 64 m;
                all of it when its scale is unknown).
            method: a name of `list_models("synthesis")`; chosen when None.
            seed: of methods that draw at random.
            sampling: `steps`, `guidance`, `solver` ("ddim", "dpm-solver") of those methods, and `progress`, called with
                (steps done, steps in all); an exception raised in it cancels.

        Raises:
            ModelError: a method that draws from the other kind of view.
        """
        from xview_demo.models.synthesis.interface import Sampling

        reads = "aerial" if isinstance(view, AerialView) else "ground"
        own = self.names.get("synthesis", "")
        if method is None and reads == "aerial" and (own not in zoo.ZOO or zoo.ZOO[own].view != "aerial"):
            method = next(name for name in REVERSE if zoo.is_bundled(name))
        model = self._part("synthesis", method)
        name = method or self.names["synthesis"]
        if model.reads != reads:
            others = [n for n in zoo.list_models("synthesis") if zoo.ZOO[n].view == reads]
            raise ModelError(f"{name!r} draws from {model.reads} views, not {reads} ones: use {', '.join(others)}.")
        query = self._query(view, model.needs)
        drawn = self._run(model.draw, query, Sampling(seed=seed, **sampling))
        shape = (TILE_PIXELS, TILE_PIXELS) if model.draws == "aerial" else STRIP
        image = resize(drawn.image.float(), *shape)[0].clamp(0, 1).cpu()
        made: Any = GroundView(image, "equirectangular", 0.0, 360.0, 90.0, latlon=view.latlon, source=view.source)
        seen = None
        if model.draws == "aerial":
            made = AerialView(image, model.metres / TILE_PIXELS, view.latlon, source=view.source)
            seen = looked_towards(query.mask[0], TILE_PIXELS)
        segmentation = None
        if drawn.labels is not None:
            segmentation = _segmentation(resize(drawn.labels.float(), *shape).softmax(1)[0])
        elif hasattr(model, "save_pretrained") and f"segmentation_{model.draws}" in self.names:
            segmentation = self.segment(made)
        return Synthesis(made, segmentation, name, seen)

    def _query(self, view: GroundView | AerialView, needs: tuple[str, ...]) -> Any:
        """What a generator draws from, a batch of one; depth and classes are estimated where it needs them."""
        from xview_demo.models.synthesis.interface import Query

        if isinstance(view, AerialView):
            return Query(view.tile(TILE_METRES, TILE_PIXELS)[None].to(self.device))
        strip, mask = (x[None].to(self.device) for x in view.strip(north=view.heading is not None))
        up = view.camera_height
        depth = self._run(self._part("depth").predict, strip, camera_height=up) if "depth" in needs else None
        labels = self._run(self._part("segmentation_ground").predict, strip)[0] if "labels" in needs else None
        return Query(strip, mask, up, depth, labels)

    def segment(self, view: GroundView | AerialView, model: str | None = None) -> Segmentation:
        """The class of every pixel of a ground or aerial view, at the view's own size.

        Args:
            view: what is segmented.
            model: a name of `list_models("segmentation")` that reads such views; the localizer's own when None.

        Raises:
            ModelError: no such model, or one for the other view.
        """
        height, width = view.image.shape[-2:]
        if isinstance(view, AerialView):
            image = aerial_frame(view)
            reads, options = "aerial", {}
        else:
            image, rows, full = ground_frame(view)
            reads, options = "ground", {"panorama": full, "rows": rows}
        net = self._part(f"segmentation_{reads}", model)
        if net.view not in (reads, "both"):
            raise ModelError(f"{model!r} segments {net.view} views, not {reads} ones: choose another.")
        _, scores = self._run(net.predict, image[None].to(self.device), **options)
        if height * width <= LARGEST:
            return _segmentation(resize(scores, height, width)[0])
        labels = scores[0].argmax(0)[None, None].float()
        return Segmentation(F.interpolate(labels, (height, width))[0, 0].byte().cpu().numpy())

    def depth(self, view: GroundView) -> Depth:
        """Metres along the ray of every pixel of a ground view, infinite in the sky, at the view's own size.

        One picture alone gives depth in units of the camera's height, which is estimated unless the view states it.
        """
        image, rows, full = ground_frame(view)
        options = {"panorama": full, "rows": rows, "camera_height": view.camera_height}
        metres = self._run(self._part("depth").predict, image[None].to(self.device), **options)
        height, width = view.image.shape[-2:]
        return Depth(F.interpolate(metres[:, None], (height, width))[0, 0].float().cpu().numpy())

    # Place

    def localize(
        self,
        view: GroundView,
        gallery: Gallery,
        top_k: int = 10,
        region: Region | None = None,
        rerank: str | None = "auto",
        rerank_k: int | None = None,
        rerank_below: float | None = None,
    ) -> Localization:
        """Where a view was taken, among the tiles of a gallery.

        With a known heading the descriptors are compared at that heading, otherwise over all headings, and the
        heading of each match is found with it. The confidence is the best tile's probability: a softmax over the
        scores with a temperature fitted on validation worlds. Photographs of a gallery tell no heading.

        The best tiles are then judged anew by laying the view over each (`Match.overlay`); they share the
        probability that they had together.

        Args:
            view: the query.
            gallery: built by this localizer; of aerial tiles, or of photographs (kind "ground").
            top_k: number of matches.
            region: search only there (see `Gallery.mask`).
            rerank: "auto" (aerial tiles whose pictures are kept, by this localizer's `reranking`; photographs not at
                all), None, or the name, folder or repository of a model: for aerial tiles a dense matcher or
                a verifier, for photographs one of the task "places", whose evidence is `Match.warp`.
            rerank_k: how many are re-ranked; 50 tiles or 5 photographs when None.
            rerank_below: re-rank only when the confidence is lower than this (0–1).

        Raises:
            GalleryError: the gallery is of another matcher, the region holds no tile, or top_k is below 1.
            ModelError: no such re-ranking model, or one for the other kind of gallery.
        """
        gallery.check(self)
        recognizer = self.places if gallery.kind == "ground" else None
        query, scorer, temperature = self._compared(view) if recognizer is None else recognizer.query(view)
        scores, headings = gallery.scores(query, scorer, region)
        assert headings is not None
        return answer(
            view, gallery, scores[0], headings[0], temperature, top_k=top_k,
            reranker=self._reranker(rerank, gallery), rerank_below=rerank_below,
            rerank_k=RERANKED[gallery.kind] if rerank_k is None else rerank_k,
        )  # fmt: skip

    def _reranker(self, name: str | None, gallery: Gallery) -> Reranker | None:
        """What judges candidates of a gallery anew; None for nothing."""
        if name == "auto":
            name = self.names.get("reranking") if gallery.kind == "aerial" and gallery.pictured else None
        if name is None:
            return None
        if gallery.kind == "ground":
            return self._recognizer(name)
        if name not in self._tile_rerankers:
            self._tile_rerankers[name] = TileReranker(self._part("reranking", name), self.device, self._taken)
        return self._tile_rerankers[name]

    def _taken(self, view: GroundView, gallery: Gallery, rows: list[int]) -> Tensor | None:
        """(K, 2) metres east and north of some tiles' centres from where the matcher finds a view taken, if it does."""
        if not hasattr(matcher := self._part("matching"), "poses"):
            return None
        query, _, _ = self._compared(view)
        tiles = torch.from_numpy(np.asarray(gallery.descriptors[rows], np.float32))
        _, places = matcher.poses(query[0], tiles, view.heading is not None)
        return cast(Tensor, places)

    def _compared(self, view: GroundView) -> tuple[Tensor, Any, float]:
        """Descriptor of a view for the matcher, what compares it, and the temperature of the comparison."""
        matcher = self._part("matching")
        encode = self._composed().encode_turned if view.heading is None else self._composed().encode_ground
        query = torch.from_numpy(self._described(view, encode))
        scorer: Any = matcher if view.heading is None else _Known(matcher, view.heading)
        return query, scorer, float(matcher.temperature(query, view.heading is not None)[0])


def _check_parts(names: Iterable[str]) -> None:
    if unknown := set(names) - set(PARTS):
        raise ModelError(f"No part named {sorted(unknown)[0]!r}. Available: {', '.join(PARTS)}.")


def _present(parts: dict[str, Any]) -> dict[str, Any]:
    """The parts without the optional ones whose own weights are not bundled."""
    return {p: n for p, n in parts.items() if p not in OPTIONAL or n != PARTS[p][1] or zoo.is_bundled(n)}


def _single(name: str, entry: zoo.Entry, view: str) -> ModelError:
    """What to say of a single model where a localizer is wanted: the part of one that it is for."""
    part = entry.task
    if part == "segmentation":
        part += "_aerial" if view == "aerial" else "_ground"
    elif hasattr(entry.load_class(), "rerank"):
        part = "reranking"
    return ModelError(f'{name} is a single model, not a GeoLocalizer: use GeoLocalizer.from_zoo({part}="{name}").')


def _several(views: Any) -> list[Any]:
    found = list(views) if isinstance(views, Iterable) else [views]
    if not found:
        raise ModelError("There are no views to embed: give at least one.")
    return found


def _dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    if isinstance(dtype, torch.dtype):
        return dtype
    names = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    names["auto"] = torch.float32 if device.type == "cpu" else torch.bfloat16
    if dtype not in names:
        raise ModelError(f"No dtype named {dtype!r}. Available: {', '.join(names)}.")
    return names[dtype]


def _segmentation(scores: Tensor) -> Segmentation:
    scores = scores.float().cpu()
    return Segmentation(scores.argmax(0).byte().numpy(), scores.numpy())
