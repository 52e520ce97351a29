"""What means "you can mend this", naming the culprit and saying how, and what means a bug."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Bad input, told in one sentence. The command line prints it without a traceback, exit 2."""


class NotSet(UserError):
    """A setting without a default is not set; all else may be right."""


class LeakError(Exception):
    """Something learns from what it is tested on: a bug, whose message names check and culprit."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was used up: Python's, torch's or that of a card."""
    words = ("can't allocate memory", "not enough memory", "out of memory", "storage size")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(each in str(error).lower() for each in words)
    )


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the choice nearest to ``word``, or an empty string.

    It is never ``word`` itself, in quotes or not.
    """
    names = [name for name in choices if name not in (word, word.strip("'\""))]
    close = [name for name in names if name.lower() == word.lower()]
    close = close or get_close_matches(word, names, n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""


def listed(names: Iterable[object], limit: int = 12) -> str:
    """Join names with commas, and say how many more there are past ``limit``."""
    words = [str(name) for name in names]
    rest = f" and {len(words) - limit} more" if len(words) > limit else ""
    return ", ".join(words[:limit]) + rest
