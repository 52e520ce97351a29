"""Examples of what a run recommends, as trackers and the terminal show them."""

from collections.abc import Sequence
from typing import NamedTuple


class Example(NamedTuple):
    """A user, the latest items of the history, or some if not ``ordered``, and recommendations."""

    user: str
    history: list[str]
    recommended: list[str]
    ordered: bool = True


def shown_items(examples: Sequence[Example]) -> str:
    """What the examples show of histories."""
    return "latest items" if all(example.ordered for example in examples) else "some items"
