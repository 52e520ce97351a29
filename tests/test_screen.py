"""What is printed is shown and not obeyed; a stream that closes stops nobody."""

import io
import sys
from pathlib import Path

import pytest
from rich.table import Table

from lightning_rec.screen import Screen
from lightning_rec.streams import Tolerant, one_line, visible
from lightning_rec.tasks.progress import Progress

HOSTILE = "[/i008] [bold]x[/bold] \x1b[31mred\x07\x9b2J \u202eevil :smile:"
SHOWN = r"[/i008] [bold]x[/bold] \x1b[31mred\x07\x9b2J \u202eevil :smile:"


def test_markup_and_escapes_are_shown_wherever_a_string_is_printed() -> None:
    out = io.StringIO()
    screen = Screen(file=out, width=400, force_terminal=True)
    table = Table(HOSTILE, title=HOSTILE)
    table.add_row(HOSTILE)
    screen.print(table, HOSTILE)
    with screen.status(HOSTILE):
        pass
    assert out.getvalue().count(SHOWN) >= 4
    assert "\x1b[31mred" not in out.getvalue()
    assert "\x9b" not in out.getvalue()


def test_lines_stay_lines() -> None:
    assert visible("a\n\tb") == "a\n\tb"
    assert one_line("a\nb\r") == r"a\nb\r"


def test_a_full_disk_is_told_once_and_stops_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    with Path("/dev/full").open("w") as full:
        stream = Tolerant(full)
        for _ in range(2):
            stream.write("x" * 100_000)
            stream.flush()
    assert capsys.readouterr().err.count("cannot be written, No space left on device") == 1


def test_a_breakpoint_closes_the_bar_first(monkeypatch: pytest.MonkeyPatch) -> None:
    progress, bars = Progress(), []
    hook = lambda: bars.append(progress._bars)  # noqa: E731
    monkeypatch.setattr(sys, "breakpointhook", hook)
    progress._open("train", 2, 0, "epochs")
    breakpoint()
    assert bars == [None]
    assert sys.breakpointhook is hook
