"""Transfer: what a model learnt on other data, with which this one shares no user and no item.

Hou et al., Towards Universal Sequence Representation Learning for Recommender Systems, KDD 2022,
arXiv:2206.05941, section 2.3.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from lightning_rec.errors import UserError
from lightning_rec.methods.base import Method, Trained
from lightning_rec.methods.update import Before, carried
from lightning_rec.models.base import Warmed
from lightning_rec.models.items.base import item_encoders

What = Literal["all", "adaptor", "none"]


class Transfer(Method):
    """Training begins with the weights of a finished run on other data.

    All is taken over: the model knows items by what describes them, and nothing of it belongs to a
    single item. So are the statistics that vectors of texts were whitened by, without which a map
    of them would be another function. Features have the vectors of the values of the same names;
    others begin as the mean of these. A number has the vector that it had, however those of now
    are spread.

    Args:
        run: folder of a completed run of the same model.
        train: ``all`` weights; ``adaptor``: those that make vectors of items of what describes
            them, and the others stay as they are; ``none``: the run is asked about these data as
            it is (zero-shot).
    """

    same_data = False
    elsewhere: ClassVar[bool] = True

    def __init__(self, run: str | None = None, train: What = "all") -> None:
        if run is None:
            raise UserError("method.run is not set: name the folder of a completed run.")
        self.run, self.train = run, train

    @property
    def reads(self) -> dict[str, str]:
        """The run that it begins with, by key."""
        return {"method.run": self.run}

    @torch.no_grad()
    def begin(self, task: Trained, data: Any, before: Callable[[str], Before]) -> dict[str, Any]:
        """Take over the weights, and hold still what is not trained; returns facts for the card.

        Raises UserError if the weights are of another model, or a language model is tuned.
        """
        known = before(self.run)
        if getattr(task, "adapted", None) is not None:
            raise UserError(
                "method.run: a language model that is tuned is not taken over: leave it as it "
                "comes in both runs, adapter=frozen."
            )
        task.model.load_state_dict(carried(known, task.model, self.run, "mean"))
        if isinstance(task.model, Warmed):
            task.model.go_on()
        self._hold_still(task.model)
        return {"run": self.run, **known.facts, "train": self.train}

    def _hold_still(self, model: nn.Module) -> None:
        if self.train == "all":
            return
        of_items = {id(each) for part in item_encoders(model) for each in part.parameters()}
        for weight in model.parameters():
            if self.train == "none" or id(weight) not in of_items:
                weight.requires_grad_(False)
