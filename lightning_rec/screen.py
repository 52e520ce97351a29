"""What is printed on a terminal: others' text is shown and not obeyed."""

import logging
from typing import Any

from rich.console import Console
from rich.status import Status
from rich.text import Text

from lightning_rec.passwords import without_passwords
from lightning_rec.streams import visible


class Screen(Console):
    """A console that shows strings as they are: no markup, no escapes."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, emoji=False, **settings)

    def render_str(self, text: str, **settings: Any) -> Text:
        """Text of a string; every string that is printed passes here, those of tables too."""
        return super().render_str(visible(text), **settings)

    def status(self, status: Any, **settings: Any) -> Status:
        """A spinner with a message, on terminals only."""
        console = self if self.is_terminal else Screen(quiet=True)
        return Console.status(console, Text(visible(str(status))), **settings)

    @property
    def transient(self) -> dict[str, Any]:
        """Arguments of a progress bar that vanishes at its end, and shows on terminals only."""
        return {"console": self, "transient": True, "disable": not self.is_terminal}


class VisibleFormatter(logging.Formatter):
    """Writes out control characters in what is logged, and no passwords of addresses."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, or lines, of a record."""
        return without_passwords(visible(super().format(record)))
