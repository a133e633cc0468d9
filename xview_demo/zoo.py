"""The models by name: `load` finds the weights and builds the model; `ZOO` is the dict of all (`catalogue`).

Weights are looked for in this order: a directory, the bundled weights (`xview_demo/weights/<name>`), the local Hub
cache, the Hub; a name of the zoo is never a directory (see `locate`). Only `config.json` and `model.safetensors` are
ever read.
"""

import difflib
import json
import os
import re
from importlib import import_module
from pathlib import Path
from typing import Any

from xview_demo.catalogue import TASKS, ZOO, Entry
from xview_demo.errors import ModelError, one_line

WEIGHTS = Path(__file__).parent / "weights"
CARDS = Path(__file__).parents[1] / "model_cards"
FILES = ("config.json", "model.safetensors")
TIMEOUT = 5.0  # seconds to wait for the Hub's first answer
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def list_models(task: str | None = None) -> list[str]:
    """Names of the models, of one task or of all.

    Raises:
        ModelError: an unknown task.
    """
    if task is not None and task not in TASKS:
        raise ModelError(f"No task named {task!r}. Available: {', '.join(TASKS)}.")
    return [name for name, entry in ZOO.items() if task in (None, entry.task)]


def get(name: str) -> Entry:
    """The entry of a name; an unknown name is told which there are."""
    if name in ZOO:
        return ZOO[name]
    close = difflib.get_close_matches(name, ZOO, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ModelError(f"No model named {name!r}.{hint} Available: {', '.join(ZOO)}.")


def is_bundled(name: str) -> bool:
    """Whether a model of the zoo works without a network: its weights are bundled, or it has none."""
    return not get(name).learned or is_folder_of_weights(WEIGHTS / name)


def bundled(task: str, reads: str | None = None) -> list[str]:
    """Names of the models of a task that work without a network; only those that read a view, if one is named."""
    names = [name for name in list_models(task) if is_bundled(name)]
    return [name for name in names if reads is None or ZOO[name].view in (reads, "both")]


def is_folder_of_weights(path: Path) -> bool:
    """Whether a folder holds a model."""
    return all((path / name).is_file() for name in FILES)


def load(
    source: str | os.PathLike[str],
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    task: str | None = None,
) -> Any:
    """Build a model with its weights, in evaluation mode.

    Args:
        source: a name of the zoo, a directory, or a repository `owner/name` of the Hub.
        revision: branch, tag or commit of a repository.
        local_files_only: never ask the network.
        task: what the model must be for.

    Raises:
        ModelError: nothing of that name, no weights, weights that do not fit, or a model of another task.
    """
    name = as_text(source)
    if name in ZOO and not ZOO[name].learned:
        _check_task(name, ZOO[name].task, task)
        return ZOO[name].load_class()()
    folder = locate(name, revision=revision, local_files_only=local_files_only)
    if read_config(folder).get("model_type") == "segformer":
        _check_task(name, "segmentation", task)
        return import_module("xview_demo.models.segmentation.segformer").SegFormer.from_ade20k(folder)
    entry = ZOO[name] if name in ZOO else _entry_of(folder)
    _check_task(name, entry.task, task)
    try:
        return entry.load_class().from_pretrained(folder)  # type: ignore[attr-defined]
    except (TypeError, ValueError) as error:
        raise ModelError(f"The model in {folder} cannot be loaded: {error}") from error


def _check_task(name: str, found: str, wanted: str | None) -> None:
    if wanted is not None and found != wanted:
        raise ModelError(f"{name!r} is for {found}, not for {wanted}: use one of {', '.join(list_models(wanted))}.")


def entry_of_class(name: Any) -> Entry | None:
    """The first entry with weights of a class, None without one."""
    return next((entry for entry in ZOO.values() if entry.learned and entry.home.split(":")[1] == name), None)


def _entry_of(folder: Path) -> Entry:
    """An entry whose class wrote a folder."""
    wanted = read_config(folder).get("class")
    if (entry := entry_of_class(wanted)) is not None:
        return entry
    known = sorted({e.home.split(":")[1] for e in ZOO.values() if e.learned})
    raise ModelError(f"{folder / FILES[0]} names the class {wanted!r}; known are {', '.join(known)}.")


def as_text(source: str | os.PathLike[str]) -> str:
    """A source as text. A path object that is spelled like a name of the zoo gets a `./`: it means the directory."""
    text = os.fspath(source)
    return text if isinstance(source, str) or text not in ZOO else os.path.join(os.curdir, text)


def read_config(folder: Path) -> dict[str, Any]:
    """A folder's `config.json`."""
    try:
        content = json.loads((folder / FILES[0]).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / FILES[0]} cannot be read ({error}): restore it from where it came.") from error
    if not isinstance(content, dict):
        raise ModelError(f"{folder / FILES[0]} holds no configuration: restore it from where it came.")
    return content


def locate(name: str, *, revision: str | None = None, local_files_only: bool = False) -> Path:
    """The folder with a model's two files: directory → bundled → Hub cache → Hub.

    A bare name of the zoo means the zoo's model, whatever lies in the working directory: a directory of that name is
    meant when it is written as a path (`./mst-world`) or given as a path object.

    Raises:
        ModelError: there is none; the message names the remedies.
    """
    if name not in ZOO and os.path.isdir(name):
        folder = Path(name)
        if not is_folder_of_weights(folder):
            missing = [f for f in FILES if not (folder / f).is_file()]
            raise ModelError(f"{folder} has no {' and no '.join(missing)}: give a folder written by save_pretrained.")
        return folder
    if name in ZOO and revision is None and is_folder_of_weights(WEIGHTS / name):
        return WEIGHTS / name
    if name in ZOO and ZOO[name].repository is None:
        raise ModelError(f"The weights of {name!r} are not bundled here: make them with `python -m train {name}`.")
    repository = ZOO[name].repository or name if name in ZOO else name
    if not _REPOSITORY.fullmatch(repository):
        get(name)  # teaches the names
    revision = revision or (ZOO[name].revision if name in ZOO else None)
    return fetch(repository, FILES, revision=revision, local_files_only=local_files_only)


def fetch(
    repository: str, files: tuple[str, ...], *, revision: str | None = None, local_files_only: bool = False
) -> Path:
    """The folder with files of a repository, all of one commit: from the local Hub cache, else from the Hub.

    The Hub is asked once and without retries, so that being offline is noticed at once.

    Raises:
        ModelError: the repository, the revision or a file does not exist, or the Hub cannot be reached.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    wanted = revision or "main"
    cached = [try_to_load_from_cache(repository, f, revision=wanted) for f in files]
    if all(isinstance(path, str) for path in cached):
        return Path(str(cached[0])).parents[files[0].count("/")]
    if local_files_only:
        raise ModelError(f"{repository} ({wanted}) is not in the local Hub cache. {_remedies(repository)}")
    commit = _commit(repository, files[0], wanted)
    try:
        paths = [hf_hub_download(repository, f, revision=commit) for f in files]
        if wanted != commit:  # lets the cache answer for the branch next time
            hf_hub_download(repository, files[0], revision=wanted)
    except Exception as error:  # the client's network errors have no common base class across its versions
        raise ModelError(f"{repository} could not be downloaded: {_short(error)} {_remedies(repository)}") from error
    return Path(paths[0]).parents[files[0].count("/")]


def _commit(repository: str, file: str, revision: str) -> str:
    """The commit a revision stands for, by one request for one file's metadata."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        metadata = get_hf_file_metadata(hf_hub_url(repository, file, revision=revision), timeout=TIMEOUT)
    except RevisionNotFoundError as error:
        raise ModelError(f"{repository} has no revision {revision!r}: check it on the Hub.") from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"There is no model {repository} on the Hub (or it is private: log in with `hf auth login`). "
            f"Bundled are: {', '.join(ZOO)}."
        ) from error
    except EntryNotFoundError as error:
        raise ModelError(f"{repository} ({revision}) has no {file}: only safetensors repositories load.") from error
    except Exception as error:  # the client's network errors have no common base class across its versions
        raise ModelError(
            f"The Hub could not be reached for {repository}: {_short(error)} {_remedies(repository)}"
        ) from error
    if not metadata.commit_hash:
        raise ModelError(f"The Hub did not say which commit of {repository} {revision!r} is: check HF_ENDPOINT.")
    return metadata.commit_hash


def _short(error: Exception) -> str:
    return one_line(error, 160).rstrip(".") + "."


def _remedies(repository: str) -> str:
    return (
        f"Connect to the network, or download it elsewhere (`hf download {repository}`) and give the folder, "
        "or leave the name out to use the bundled models, which need no network."
    )
