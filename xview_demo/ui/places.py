"""Worlds and galleries that the tabs use, each made once and kept."""

import functools
import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xview_demo import Gallery, World
from xview_demo.errors import GalleryError, XViewError
from xview_demo.files import atomic_path, cache_root
from xview_demo.tiles import StreetTiles, encoder_for

if TYPE_CHECKING:
    from xview_demo.localizer import GeoLocalizer

DEMO_SEED = 950_004  # a test seed: no model has seen this place
ANY_BIOME = "any"
TILE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".csv", ".json", ".jgw", ".pgw", ".wld", ".tfw"}
KEPT_SUFFIXES = {*TILE_SUFFIXES, ".safetensors", ".parquet"}
ZIP_LIMIT = 2_000_000_000  # bytes once unpacked
ZIP_FILES = 100_000

Told = Callable[[int, int], None]


def world_of(seed: float | None, biome: str | None) -> World:
    """The world of a seed and a biome (`ANY_BIOME` or None: drawn from the seed)."""
    if seed is None or seed != int(seed):
        raise XViewError(f"The seed is {seed}: give a whole number from 0 to 999,999.")
    return _world(int(seed), None if biome in (None, "", ANY_BIOME) else biome)


@functools.lru_cache(maxsize=3)
def _world(seed: int, biome: str | None) -> World:
    return World(seed, biome=biome)


def cache_folder() -> Path:
    """Where galleries are kept: `XVIEW_CACHE`, else `xview_demo` in the user's cache folder."""
    return cache_root() / "galleries"


def world_gallery(geo: "GeoLocalizer", seed: float | None, biome: str | None, told: Told | None = None) -> Gallery:
    """The gallery of a generated world: opened where it is kept, else built and kept."""
    place = world_of(seed, biome)
    area = StreetTiles(place)

    def counted(done: int, total: int) -> None:
        if told is not None:
            told(done, total or len(area))

    return _kept(geo, f"world-{place.seed}-{place.biome}-streets", area, counted)


def folder_gallery(geo: "GeoLocalizer", folder: str | None, told: Told | None = None, kind: str = "aerial") -> Gallery:
    """The gallery in a folder: a kept one is opened, tiles (photographs, kind "ground") are encoded once and kept."""
    path = Path((folder or "").strip().strip("'\"")).expanduser()
    if not folder or not path.exists():
        raise GalleryError(
            f"There is no folder at '{folder or ''}': give the path of a gallery or of a folder of tiles."
        )
    if (path / "gallery.json").is_file():
        return Gallery.open(path, geo)
    return _kept(geo, f"folder-{_stamp(path)}", path, told, kind)


def zip_gallery(geo: "GeoLocalizer", archive: str | None, told: Told | None = None, kind: str = "aerial") -> Gallery:
    """The gallery in an uploaded ZIP file of tiles or photographs, or of a kept gallery."""
    if not archive:
        raise GalleryError("There is no ZIP file yet: upload one that holds aerial tiles.")
    digest = hashlib.sha256(Path(archive).read_bytes()).hexdigest()[:16]
    folder = cache_folder() / f"zip-{digest}"
    if not folder.is_dir():
        with atomic_path(folder) as temporary:
            unpack(Path(archive), temporary)
    inner = next((path.parent for path in sorted(folder.rglob("gallery.json"))), folder)
    return folder_gallery(geo, str(inner), told, kind)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack the tiles and lists of a ZIP file, and nothing else, into a new folder.

    Raises:
        GalleryError: not a ZIP file, too large, a path that leaves the folder, or no picture inside.
    """
    folder.mkdir(parents=True)
    try:
        with zipfile.ZipFile(archive) as bundle:
            wanted = [m for m in bundle.infolist() if Path(m.filename).suffix.lower() in KEPT_SUFFIXES]
            if len(wanted) > ZIP_FILES or sum(member.file_size for member in wanted) > ZIP_LIMIT:
                raise GalleryError(
                    f"The ZIP file holds more than {ZIP_FILES:,} files or {ZIP_LIMIT // 10**9} GB: give a smaller area."
                )
            for member in wanted:
                target = (folder / member.filename).resolve()
                if not target.is_relative_to(folder.resolve()):
                    raise GalleryError(f"The ZIP file names '{member.filename}', which lies outside it: pack it anew.")
                bundle.extract(member, folder)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise GalleryError(f"The file is no readable ZIP archive ({error}): pack the tiles as a plain ZIP.") from error
    if not wanted:
        raise GalleryError("The ZIP file holds no pictures: pack aerial tiles as JPEG, PNG, WebP or TIFF.")


def _stamp(path: Path) -> str:
    """A name for the present content of a file or folder: changes when a file is added, removed or rewritten."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    lines = (f"{file}|{file.stat().st_size}|{file.stat().st_mtime_ns}" for file in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


_opened: dict[str, Gallery] = {}


def _kept(geo: "GeoLocalizer", name: str, source: Any, told: Told | None, kind: str = "aerial") -> Gallery:
    """A gallery by its name and the encoder's fingerprint: in memory, else on disk, else built."""
    mark = hashlib.sha256(encoder_for(kind, geo).fingerprint.encode()).hexdigest()[:10]
    path = cache_folder() / f"{name}-{mark}"
    key = str(path)
    if key not in _opened:
        while len(_opened) >= 8:
            _opened.pop(next(iter(_opened)))
        if (path / "gallery.json").is_file():
            _opened[key] = Gallery.open(path)
        else:
            _opened[key] = Gallery.build(source, geo, path=path, kind=kind, progress=told)
    return _opened[key]
