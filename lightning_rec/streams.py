"""Text that a terminal does not obey, and standard streams that may be closed or full."""

import io
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

# Control characters but for the end of a line and the tab, and what turns the direction of text.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    r"""Text with its control characters written out, as ``\x1b``: a terminal obeys none of them."""
    return _OBEYED.sub(lambda found: ascii(found[0])[1:-1], text)


def one_line(text: str) -> str:
    """The same in a single line: titles have their place in a table."""
    return visible(text.replace("\n", "\\n"))


@contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Let loggers tell of errors alone."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class Tolerant:
    """A stream that discards what comes after its first error, a full disk or a closed pipe."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, unless the stream has failed."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        """Flush, unless the stream has failed."""
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _give_up(self, error: OSError) -> None:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, self._stream.fileno())  # what is left in buffers goes there as well
        os.close(nothing)
        if not isinstance(error, BrokenPipeError) and self._stream is not sys.__stderr__:
            print(f"warning: the output cannot be written, {error.strerror}.", file=sys.stderr)


def tolerate() -> None:
    """Let standard output and standard error be closed or full without an end of the program."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed from the beginning, so that this takes its place
            stream = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
        if isinstance(stream, io.TextIOWrapper):  # letters that its encoding lacks are written out
            stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, Tolerant(stream))
