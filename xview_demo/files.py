"""Files that are either whole or absent: write beside the target, then rename."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path` (same suffix) and rename it to `path` when the block succeeds.

    The block may create a file or a folder there. A folder replaces an existing folder of that name.
    On an exception the temporary is removed and `path` is left as it was.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.stem}.tmp-{uuid4().hex[:8]}{target.suffix}")
    try:
        yield temporary
        _replace(temporary, target)
    finally:
        _remove(temporary)


def cache_root() -> Path:
    """The user's cache folder: $XVIEW_CACHE, else $XDG_CACHE_HOME/xview_demo, else ~/.cache/xview_demo."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("XVIEW_CACHE") or home / "xview_demo")


def write_json(path: str | os.PathLike[str], content: Any) -> Path:
    """Write `content` as indented JSON, atomically; returns the path."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return Path(path)


def _replace(temporary: Path, target: Path) -> None:
    if temporary.is_dir() and target.is_dir():
        old = target.with_name(f"{target.name}.tmp-{uuid4().hex[:8]}")
        os.rename(target, old)
        os.rename(temporary, target)
        shutil.rmtree(old)
    else:
        os.replace(temporary, target)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
