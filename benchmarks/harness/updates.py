"""What experiments on updates share: the cost of a training, two models beside each other."""

import time
from typing import Any

from pytorch_lightning import Callback

from lightning_rec.lab.examples import Values
from lightning_rec.lab.gated import NEW, OLD, Judged
from lightning_rec.lab.paired import mean_of, of_values


class Clock(Callback):
    """Seconds of a processor from the start of a training to its end, validation included."""

    def __init__(self) -> None:
        self.start, self.seconds = 0.0, 0.0

    def on_fit_start(self, *_: Any) -> None:
        """Called by Lightning."""
        self.start = time.process_time()

    def on_fit_end(self, *_: Any) -> None:
        """Called by Lightning."""
        self.seconds = time.process_time() - self.start


def compared(name: str, pairs: list[tuple[Values, Values]], parts: Judged) -> list[dict[str, Any]]:
    """Means over the seeds of two models in each part, and their difference over users."""
    told = []
    for part in (NEW, OLD):
        inside = parts.parts[part]
        ours, theirs = ([each.within(inside) for each in of] for of in zip(*pairs, strict=True))
        apart = of_values(ours, theirs)
        assert apart is not None
        told.append(
            {
                "compared": name, "part": part, "rows": int(inside.sum()), "users": apart.units,
                "figures": [mean_of(ours), mean_of(theirs)],
                "difference": apart.difference, "low": apart.low, "high": apart.high,
            }
        )  # fmt: skip
    return told
