"""Tables out of results, written into a page between marks."""

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any


def median(results: Sequence[dict[str, Any]], *keys: str) -> float:
    """The median over repeats of a figure."""
    values = []
    for result in results:
        value: Any = result
        for key in keys:
            value = value[key]
        values.append(value)
    middle: float = statistics.median(values)
    return middle


def headed(names: Sequence[str]) -> list[str]:
    """The head of a table whose columns but the first hold numbers."""
    return [row(names), "|" + "---|" + "---:|" * (len(names) - 1)]


def row(cells: Sequence[str]) -> str:
    """A line of a table."""
    return "| " + " | ".join(cells) + " |"


def measured(results: Sequence[dict[str, Any]]) -> str:
    """Where and when results were measured."""
    machine = results[0]["machine"]
    dates = sorted(result["finished_at"][:10] for result in results)
    return (
        f"{machine['cores']} cores ({machine['processor']}), {results[0]['threads']} threads, "
        f"{dates[0]} to {dates[-1]}"
    )


def fill(tables: Mapping[str, Callable[[Path], str]]) -> None:
    """``RESULTS PAGE [--check]``: write the tables, or compare them.

    Each goes between the marks ``NAME:start`` and ``NAME:end`` of the page.
    """
    folder, page = Path(sys.argv[1]), Path(sys.argv[2])
    written = text = page.read_text()
    for name, build in tables.items():
        before, _, rest = written.partition(f"<!-- {name}:start -->")
        _, found, after = rest.partition(f"<!-- {name}:end -->")
        if not found:
            raise SystemExit(f"{page} has no <!-- {name}:start --> … <!-- {name}:end -->")
        marked = f"<!-- {name}:start -->\n{build(folder)}\n<!-- {name}:end -->"
        written = before + marked + after
    if "--check" not in sys.argv:
        page.write_text(written)
    elif written != text:
        raise SystemExit(f"{page} is out of date: build it again without --check")
