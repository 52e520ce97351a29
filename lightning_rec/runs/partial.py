"""Figures of a part of the data say so in their names, so that nobody takes them for whole ones."""

import logging
from collections.abc import Mapping

from lightning_rec.figures import parsed

_OF_STAGES = {"limit_val_batches": ("val",), "limit_test_batches": ("test",)}

log = logging.getLogger(__name__)


def tell(part: Mapping[str, object]) -> None:
    """Warn of figures of a part of the data, if they are; see :func:`marked`."""
    if part:
        log.warning(
            "Figures are of a part of the data alone (%s): their names end in _partial, and "
            "their protocol has a hash of its own.",
            ", ".join(f"trainer.{key}={value}" for key, value in part.items()),
        )


def marked(figures: Mapping[str, float], part: Mapping[str, object]) -> dict[str, float]:
    """The figures, those that were measured on a part of the data under another name.

    ``part``: settings of the trainer that leave a part of the data out, as ``limit_test_batches``
    does of the test alone, and ``fast_dev_run`` of all; none of them for whole figures.
    """
    stages = {stage for key in part for stage in _OF_STAGES.get(key, ("val", "test"))}
    return {
        str(name._replace(partial=name.stage in stages)): figures[whole]
        for whole, name in parsed(figures).items()
    }


def plain(figures: Mapping[str, float]) -> dict[str, float]:
    """The figures as they are called where all of the data is measured."""
    return {str(n._replace(partial=False)): figures[name] for name, n in parsed(figures).items()}
