"""Imports point downward only, and `import xview_demo` is quick and light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "xview_demo"
LAYERS = (
    {"errors"},
    {"files", "devices", "geometry", "classes", "outputs", "metrics"},
    {"rasters", "images", "georeference", "views", "frames"},
    {"models", "world"},
    {"catalogue"},
    {"tiles", "data", "zoo", "composed", "encoding", "gallery", "recognition", "viz", "viz_position", "evaluation"},
    {"locating"},
    {"localizer"},
    {"cli", "ui"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
HEAVY = ("torch", "transformers", "diffusers", "gradio", "faiss", "rasterio", "timm", "pandas", "matplotlib", "cv2")
FREE_OF_EXTRAS = ("transformers", "diffusers", "gradio", "faiss", "rasterio")


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Dotted names of every import in a file, at the top or inside functions, relative ones made absolute."""
    found = set()
    parts = path.relative_to(ROOT).with_suffix("").parts
    package = parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


def homes() -> dict[str, str]:
    """Where the names that `xview_demo` itself offers live."""
    import xview_demo

    return {f"{PACKAGE}.{name}": f"{PACKAGE}.{module}" for name, module in xview_demo._HOME.items()}


def parts_of_package(path: Path) -> set[tuple[str, ...]]:
    """The modules of the package a file imports, as tuples below `xview_demo`."""
    home = homes()
    names = {home.get(name, name) for name in imported(path)}
    return {tuple(name.split(".")[1:]) for name in names if name.startswith(f"{PACKAGE}.")}


@pytest.mark.parametrize("path", modules(PACKAGE), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_downward(path):
    own = path.relative_to(ROOT / PACKAGE).with_suffix("").parts[0]
    if own == "__init__":
        return
    assert own in LEVEL, f"{own} has no layer: add it to LAYERS"
    targets = {parts[0] for parts in parts_of_package(path)} & set(LEVEL)
    upward = {name for name in targets if LEVEL[name] > LEVEL[own]}
    assert not upward, f"{own} is below {sorted(upward)}"


@pytest.mark.parametrize("path", modules(PACKAGE), ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_imports_train(path):
    assert not {name for name in imported(path) if name.split(".")[0] in ("train", "tests", "app")}


@pytest.mark.parametrize("path", modules("train"), ids=lambda p: str(p.relative_to(ROOT)))
def test_train_stays_below_the_localizer(path):
    targets = {parts[0] for parts in parts_of_package(path)} & set(LEVEL)
    assert not {name for name in targets if LEVEL[name] >= LEVEL["localizer"]}


def test_model_families_do_not_import_one_another():
    folder = ROOT / PACKAGE / "models"
    families = {p.name for p in folder.iterdir() if p.is_dir() and (p / "__init__.py").exists()}
    for path in modules(f"{PACKAGE}/models"):
        own = path.relative_to(folder).parts[0]
        if own in families:
            others = {p[1] for p in parts_of_package(path) if p[0] == "models" and len(p) > 1} & families
            assert others <= {own}, f"{path.name} of {own} imports {sorted(others - {own})}"


def test_app_is_a_translation():
    if (ROOT / "app.py").exists():
        assert not {name for name in imported(ROOT / "app.py") if name.split(".")[0] in ("torch", "train", "numpy")}


@pytest.mark.parametrize("path", [*modules(f"{PACKAGE}/cli"), *modules("examples")], ids=lambda p: p.name)
def test_only_the_demo_itself_is_taken_from_the_demo(path):
    assert not {parts for parts in parts_of_package(path) if parts[0] == "ui" and len(parts) > 1}


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_is_quick_and_light():
    code = (
        "import sys, time; start = time.perf_counter(); import xview_demo; spent = time.perf_counter() - start;"
        f"print(spent, *(m for m in {HEAVY!r} if m in sys.modules))"
    )
    spent, *heavy = run(code).split()
    assert not heavy and float(spent) < 0.5


def test_views_and_world_need_no_extras():
    code = (
        "import sys; from xview_demo import GroundView, AerialView, Gallery, World;"
        f"print(*(m for m in {FREE_OF_EXTRAS!r} if m in sys.modules))"
    )
    assert run(code).split() == []


def test_every_public_name_is_found():
    import xview_demo

    for name in xview_demo.__all__:
        module = xview_demo._HOME[name]
        if (ROOT / PACKAGE / f"{module}.py").exists() or (ROOT / PACKAGE / module).is_dir():
            assert getattr(xview_demo, name) is not None
    with pytest.raises(AttributeError, match="GeoLocalizer"):
        xview_demo.GeoLocaliser  # noqa: B018
