"""Shared bottom: one network for all goals, and a tower on it for each.

Caruana, Multitask Learning, Machine Learning 28, 1997; as in Ma et al., KDD 2018, equation 1.
"""

from pydantic import PositiveInt
from torch import Tensor

from lightning_rec.data.clicks.schema import ClickSchema
from lightning_rec.models.clicks.multi_task import MultiTask
from lightning_rec.models.clicks.parts import MLP
from lightning_rec.ranges import BelowOne, Widths


class SharedBottom(MultiTask):
    """y_k = h_k(f(x)): f is shared, the towers h_k are not.

    ``mlp``: widths of the shared network.
    """

    def __init__(
        self,
        schema: ClickSchema,
        dim: PositiveInt = 16,
        mlp: Widths = (128, 128),
        tower: Widths = (64,),
        dropout: BelowOne = 0.2,
        batch_norm: bool = True,
    ) -> None:
        super().__init__(schema, dim)
        self.bottom = MLP(self.inputs, mlp, dropout, batch_norm, output=False)
        self.towers = self.new_towers(mlp[-1] if mlp else self.inputs, tower, dropout, batch_norm)
        self.initialise()

    def states(self, x: Tensor) -> list[Tensor]:
        """The same state for each goal."""
        return [self.bottom(x)] * len(self.towers)
