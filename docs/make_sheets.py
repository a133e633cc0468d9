"""Write the pictures of the model cards: what the bundled models make of test worlds, beside the truth.

python -m docs.make_sheets [NAME …]    # writes model_cards/pictures/*.jpg and links them in the cards
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from train.looks import PICTURES, SEARCHES, looks, with_pictures
from xview_demo import evaluation, list_models, viz, zoo
from xview_demo.files import atomic_path

N = 50  # pictures looked at; a sheet shows the first of each of the first worlds


def synthesis(name: str, target: Path) -> None:
    """One sheet of every bundled generator that draws the same view."""
    evaluation.evaluate_synthesis(zoo.bundled("synthesis", zoo.get(name).view), n=N, sheet=target)


def dense(name: str, target: Path) -> None:
    """The sheet of a model that says something of every pixel."""
    task, options = zoo.get(name).task, {}
    if task == "segmentation":
        options = {"view": target.stem.removeprefix(f"{name}-")}
    measure: dict[str, Any] = {"segmentation": evaluation.evaluate_segmentation, "depth": evaluation.evaluate_depth}
    measure["position"] = evaluation.evaluate_position
    measure[task](name, n=N, sheet=target, **options)


def matching(name: str) -> None:
    """Confidence and matches of a matcher or of what judges its best, heading unknown."""
    with tempfile.TemporaryDirectory() as folder:
        evaluation.evaluate_matching(**SEARCHES[name], heading="unknown", figures=folder)
        for look in looks(name):
            kind = Path(look.file).stem.removeprefix(f"{name}-")
            viz.save(viz.to_array(Image.open(Path(folder) / f"{kind}.png").convert("RGB")), PICTURES / look.file)


def main(names: list[str]) -> None:
    """Draw what is asked for, or all of it, and link what there is."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    drawn: set[str] = set()
    for name in names or [name for name in list_models() if zoo.is_bundled(name)]:
        wanted = [look.file for look in looks(name) if look.file not in drawn]
        drawn.update(wanted)
        if zoo.get(name).task == "matching" and wanted:
            matching(name)
            continue
        for file in wanted:
            (synthesis if zoo.get(name).task == "synthesis" else dense)(name, PICTURES / file)
    for name in list_models():
        path = zoo.CARDS / f"{name}.md"
        if path.is_file():
            text = with_pictures(name, path.read_text(encoding="utf-8"))
            with atomic_path(path) as temporary:
                temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
