"""The objective of models that are fitted at once."""

from typing import ClassVar

from lightning_rec.data.split import Histories, Schema
from lightning_rec.objectives.base import Objective, TrainingInputs


class ClosedForm(Objective):
    """No gradient steps: the model is fitted by counting or solving, in one pass."""

    name: ClassVar[str] = "closed_form"

    def training_inputs(self, histories: Histories, schema: Schema) -> TrainingInputs:
        """Always raises: there are no gradient steps."""
        raise TypeError("a model fitted in closed form takes no gradient steps")
