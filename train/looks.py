"""The pictures that a card shows, and the commands that draw them; `docs/make_sheets.py` does it for all cards."""

from dataclasses import dataclass
from typing import Any

from xview_demo import zoo

PICTURES = zoo.CARDS / "pictures"
BEFORE = ("## Training", "## Limits")  # the sections that the pictures come before, whichever is there
TITLE = "## Pictures"
DENSE = {
    "depth": "what is given, true depth, depth found, up to 60 m",
    "position": "tile and camera (green), true land cover, what was found, probability of the place",
}
MATCHING = {
    "confidence": "how often a stated confidence is right, and accuracy of the most confident",
    "matches": "queries and their best tiles, the true one boxed",
    "worst": "the worst queries",
}
SEARCHES: dict[str, dict[str, Any]] = {  # the searches that are shown, of unknown heading
    "azimuth-world": {"model": "azimuth-world"},
    "azimuth-verifier-world": {"model": "azimuth-world", "rerank": "azimuth-verifier-world", "fov": 90},
}


@dataclass(frozen=True)
class Look:
    """One picture of a card."""

    file: str
    says: str
    command: str


def looks(name: str) -> list[Look]:
    """The pictures that a model's card can show."""
    entry = zoo.get(name)
    if entry.task == "synthesis":
        draws = {"ground": "aerial", "aerial": "ground"}[entry.view]
        return [Look(f"synthesis-{draws}.jpg", "Test worlds: what is given, each method, the truth.",
                     f"xview evaluate synthesis --draws {draws} --n 50 --sheet FILE")]  # fmt: skip
    if entry.task == "segmentation":
        views = ("ground", "aerial") if entry.view == "both" else (entry.view,)
        command = f"xview evaluate segmentation --model {name} --n 50 --view {{}} --sheet FILE"
        says = "Test worlds: what is given, the true classes, those found."
        return [Look(f"{name}-{view}.jpg", says, command.format(view)) for view in views]
    if entry.task in DENSE:
        command = f"xview evaluate {entry.task} --model {name} --n 50 --sheet FILE"
        return [Look(f"{name}.jpg", f"Test worlds: {DENSE[entry.task]}.", command)]
    if name in SEARCHES:
        asked = "".join(f" --{option} {value}" for option, value in SEARCHES[name].items())
        command = f"xview evaluate matching{asked} --heading unknown --figures DIR"
        where = "Test worlds, heading unknown" + (", 90° wide" if "fov" in SEARCHES[name] else "")
        return [Look(f"{name}-{kind}.jpg", f"{where}: {what}.", command) for kind, what in MATCHING.items()]
    return []


def with_pictures(name: str, card: str) -> str:
    """A card whose section of pictures shows those that exist."""
    after = next(title for title in BEFORE if title in card)
    before, _, rest = card.partition(f"{TITLE}\n")
    card = before + rest[rest.index(after) :] if rest else card
    lines: list[str] = []
    for look in looks(name):
        if (PICTURES / look.file).is_file():
            lines += [f"{look.says} `{look.command}`", "", f"![{look.says}](pictures/{look.file})", ""]
    if not lines:
        return card
    before, _, rest = card.partition(after)
    return before + "\n".join([TITLE, "", *lines]) + "\n" + after + rest
