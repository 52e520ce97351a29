"""What means "you can mend this", naming the culprit and saying how, and what means a bug."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any


class UserError(Exception):
    """Bad input, told in one sentence. The command line prints it without a traceback, exit 2."""


class NotSet(UserError):
    """A setting without a default is not set; all else may be right."""


class Quoting(UserError):
    """Bad input that is quoted from a file or folder; what a saved config names is not shown."""

    def __init__(self, told: str, path: Path) -> None:
        super().__init__(told)
        self.path = path


@contextmanager
def quoting(path: Path) -> Iterator[None]:
    """Tell of errors that they may quote what lies at ``path``; see :class:`Quoting`."""
    try:
        yield
    except Quoting:
        raise
    except UserError as error:
        raise Quoting(str(error), path) from error


class LeakError(Exception):
    """Something learns from what it is tested on: a bug, whose message names check and culprit."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was used up: Python's, torch's or that of a card."""
    words = ("can't allocate memory", "not enough memory", "out of memory", "storage size")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(each in str(error).lower() for each in words)
    )


_PACKAGES = {
    "sklearn": "scikit-learn",
    "Stemmer": "PyStemmer",
    "prometheus_client": "prometheus-client",
    "kafka": "kafka-python",
    "PIL": "Pillow",
}


def import_extra(module: str, what: str, extra: str, otherwise: str = "") -> Any:
    """Import a library that only ``what`` needs.

    Args:
        module: as it is imported.
        what: the setting that needs it, such as ``model=tfidf``.
        extra: of this package, which installs it.
        otherwise: a sentence on what does without it.

    Raises:
        UserError: naming the extra, where the library is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        package = _PACKAGES.get(name, name)
        raise UserError(
            f"{what} needs {package}, which is not installed: pip install 'lightning-rec[{extra}]'."
            + f" {otherwise}".rstrip()
        ) from error


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the choice nearest to ``word``, or an empty string.

    It is never ``word`` itself, in quotes or not.
    """
    names = [name for name in choices if name not in (word, word.strip("'\""))]
    close = [name for name in names if name.lower() == word.lower()]
    close = close or [name for name in names if name.lstrip("0") == word.lstrip("0")]
    close = close or get_close_matches(word, names, n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""


def suggest(word: str, known: Iterable[str], there: str = "There are", limit: int = 12) -> str:
    """What follows a word that is none of the ``known``: the :func:`nearest`, and all there are."""
    names = list(known)
    return f"{nearest(word, names)} {there}: {listed(names, limit) or 'none'}."


def listed(names: Iterable[object], limit: int = 12) -> str:
    """Join names with commas, and say how many more there are past ``limit``."""
    words = [str(name) for name in names]
    rest = f" and {len(words) - limit} more" if len(words) > limit else ""
    return ", ".join(words[:limit]) + rest
