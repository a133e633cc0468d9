"""The errors a user can cause: each is a `ValueError` whose one sentence says what was found and what to do."""


def one_line(error: BaseException, limit: int = 10_000) -> str:
    """What an error says, on one line and of at most `limit` characters; its kind when it says nothing."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else f"{text[:limit]}…"


class XViewError(ValueError):
    """A mistake in the input; the command line and the demo print its sentence and nothing else."""


class ImageError(XViewError):
    """A file or array that cannot be used as a picture."""


class GalleryError(XViewError):
    """A gallery that cannot be built, opened or searched as asked."""


class DataError(XViewError):
    """A data set folder, list or name that cannot be read."""


class ModelError(XViewError):
    """A model that cannot be found, loaded or used as asked."""
