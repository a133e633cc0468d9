"""Write the README's tables of models from the cards, which hold what the evaluations printed.

python docs/make_table.py
"""

import re
from pathlib import Path

from train.cards import NOTE, Row, rows_of, version_of
from train.measures import FIRST
from xview_demo import list_models, zoo
from xview_demo.catalogue import LADDER
from xview_demo.files import atomic_path
from xview_demo.localizer import OPTIONAL, PARTS
from xview_demo.world.world import VERSION

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
USUAL = "10,000"  # tiles of a gallery of test worlds
EARLIER = "\n† On worlds of an earlier version, which the card names; `python -m train measure NAME` measures anew.\n"
RUNGS = (("known", "R@1 %"), ("known", "R@10 %"), ("known", "R@1% %"), ("unknown", "R@1 %"))  # of the ladder's table
HEADLINES = {
    "matching": {"R@1 %": "R@1 {} %", "median heading error °": "median heading error {}°"},
    "synthesis": {"ssim": "SSIM {}", "miou": "mIoU {}", "retrieval_r@1": "R@1 {} % as a query"},
    "segmentation": {"mIoU": "mIoU {}"},
    "position": {"mean error m": "mean error {} m", "land-cover mIoU": "land cover mIoU {}"},
    "depth": {"AbsRel ≤ 60 m": "AbsRel {} within 60 m"},
    "places": {"R@1 %": "R@1 {} %"},
}


def measured(name: str) -> list[str]:
    """The cards with a model's numbers, those of the newest worlds first: a synthesis card compares several methods."""
    several = zoo.get(name).task == "synthesis"
    paths = [zoo.CARDS / f"{other}.md" for other in (list_models("synthesis") if several else [name])]
    texts = [path.read_text("utf-8") for path in paths if path.is_file()]
    texts = [text for text in texts if NOTE in text and (not several or f", {name} | " in text)]
    return sorted(texts, key=version_of, reverse=True)


def numbers(name: str) -> str:
    """The headline numbers of a model on test worlds; of one that re-ranks, by itself and after the first matcher."""
    rows = [row for text in measured(name) for row in rows_of(text)]
    judged = [row for row in rows if re.match("world test.*judges the first", row[0])]
    alone = [row for row in rows if f"--model {name}" in row[3]] if judged else rows
    after = headlines(name, judged)
    said = (headlines(name, alone), after and f"judging the first tiles of {FIRST}: {after}")
    return "; ".join(filter(None, said)) or "–"


def headlines(name: str, rows: list[Row]) -> str:
    """The headline numbers among some rows."""
    task, view = zoo.get(name).task, zoo.get(name).view
    found: dict[str, str] = {}  # what is said, without the value: a floor is measured again beside several methods
    for where, metric, value, command in rows:
        wanted = where.startswith("world test") and (task != "synthesis" or where.endswith(f", {name}"))
        if wanted and metric in HEADLINES[task] and ("wide" not in where or metric == "R@1 %"):
            known = re.search(r"heading (known|unknown)(, \d+° wide)?", where)
            more = f", {known[0]}" if known and metric == "R@1 %" else ""
            tiles = re.search(r"([\d,]+) tiles", where)
            more += f", {tiles[1]} tiles" if more and tiles and tiles[1] != USUAL else ""
            more += f", {where.removeprefix('world test, ')}" if task == "segmentation" and view == "both" else ""
            more += " re-ranked" if where.endswith("re-ranked") else ""
            few = re.search(r"--n (\d+)", command)
            more += f" among {few[1]}" if few and metric.startswith("retrieval") else ""
            text = HEADLINES[task][metric].format(re.sub(r" \(.*\)", "", value)) + more
            found.setdefault(HEADLINES[task][metric] + (more if task != "synthesis" else ""), text)
    return "; ".join(found.values())


def dated(name: str) -> str:
    """The sign of a footnote for numbers that were measured on worlds of an earlier version."""
    return " †" if any(version_of(text) < VERSION for text in measured(name)[:1]) else ""


def listed() -> list[str]:
    """The localizer's own models, and every other that has a card."""
    own = {name for part, (_, name) in PARTS.items() if part not in OPTIONAL}
    carded = [name for name in list_models() if name in own or (zoo.CARDS / f"{name}.md").is_file()]
    return [name for name in carded if name not in LADDER]


def table() -> str:
    """The table in Markdown."""
    lines = ["| model | for | what it is | on test worlds |", "|---|---|---|---|"]
    for name in listed():
        entry, said = zoo.get(name), numbers(name) + dated(name)
        lines.append(f"| [`{name}`](model_cards/{name}.md) | {entry.task} | {entry.summary} | {said} |")
    return "\n".join(lines) + "\n"


def ladder() -> str:
    """The table of the source systems' matchers, in Markdown."""
    lines = [
        "| model | what it compares | R@1 | R@10 | R@1 % of the tiles | R@1, heading unknown |",
        "|---|---|---|---|---|---|",
    ]
    for name in LADDER:
        card = zoo.CARDS / f"{name}.md"
        if card.is_file():
            world = [row for row in rows_of(card.read_text("utf-8")) if row[0].startswith("world test")]
            said = {(where.rpartition("heading ")[2], metric): value for where, metric, value, _ in world}
            cells = " | ".join(said.get(rung, "–") for rung in RUNGS)
            lines.append(f"| [`{name}`](model_cards/{name}.md) | {zoo.get(name).summary}{dated(name)} | {cells} |")
    return "\n".join(lines) + "\n"


def updated(readme: str) -> str:
    """The README with its tables made anew."""
    for name, made in (("models", table()), ("ladder", ladder())):
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, _, rest = readme.partition(start)
        made += EARLIER if "†" in made else ""
        readme = before + start + made + end + rest.partition(end)[2]
    return readme


if __name__ == "__main__":
    text = updated(README.read_text(encoding="utf-8"))
    with atomic_path(README) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(table() + "\n" + ladder(), end="")
