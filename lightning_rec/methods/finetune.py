"""Fine-tuning: training begins with the weights of a run that learnt something else before."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import nn

from lightning_rec.errors import UserError, listed
from lightning_rec.methods.base import Method, Trained
from lightning_rec.models.base import Warmed


class FineTune(Method):
    """Training begins with the weights of a finished run of the same data, by whatever objective.

    The model takes what it has in common with that of the run, by name, and that has to be all of
    its own; what the run has besides, such as the heads of a pretraining, stays behind.

    Args:
        run: folder of a completed run of the same data and protocol, so that it has learnt nothing
            of what is tested here.
        load: loads the run.
    """

    takes_weights: ClassVar[bool] = True

    def __init__(
        self, run: str | None = None, load: Callable[[str], nn.Module] | None = None
    ) -> None:
        if run is None:
            raise UserError("method.run is not set: name the folder of a completed run.")
        self.run, self.load = run, load

    @property
    def reads(self) -> dict[str, str]:
        """The run that it begins with, by key."""
        return {"method.run": self.run}

    @torch.no_grad()
    def begin(self, task: Trained, data: Any, before: Callable[[str], Any]) -> dict[str, Any]:
        """Take over the weights; returns how many, and the names of those that stay behind.

        Raises UserError if the model has one that the run has not, or of another shape.
        """
        assert self.load is not None
        if getattr(task, "adapted", None) is not None:
            raise UserError(
                "method.run: a language model that is tuned is not taken over: train it anew, or "
                "leave it as it comes, adapter=frozen."
            )
        known, own = self.load(self.run).state_dict(), task.model.state_dict()
        if missing := [name for name in own if name not in known]:
            raise UserError(
                f"method.run={self.run} has no {listed(missing, 3)}: it is of another model, of "
                "which nothing can be taken over."
            )
        for name, weight in own.items():
            if known[name].shape != weight.shape:
                raise UserError(
                    f"method.run={self.run} has {name} of {[*known[name].shape]}, this model of "
                    f"{[*weight.shape]}: give the same sizes, those of model= and batches.max_len."
                )
        task.model.load_state_dict({name: known[name] for name in own})
        if isinstance(task.model, Warmed):
            task.model.go_on()
        return {"weights": len(own), "left out": sorted(known.keys() - own.keys())}
