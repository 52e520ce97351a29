"""LoRA: small matrices beside linear maps, by peft.

Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022, arXiv:2106.09685.
"""

from dataclasses import dataclass

from pydantic import PositiveFloat, PositiveInt
from torch import nn

from lightning_rec.adapters.injected import Injected
from lightning_rec.adapters.places import targets_of
from lightning_rec.ranges import BelowOne


@dataclass(eq=False)
class LoRA(Injected):
    """h = W x + (α / r) B A x, where A and B alone are tuned; B begins at 0 (section 4.1).

    Args:
        rank: r, the width between A and B.
        alpha: α; the change is scaled by α / r.
        dropout: on what A reads.
        targets: None takes the maps that make queries and values, as the paper does.
    """

    rank: PositiveInt = 8
    alpha: PositiveFloat = 16.0
    dropout: BelowOne = 0.0

    def attach(self, module: nn.Module) -> set[str]:
        """Put matrices beside the targets."""
        names = targets_of(module, self.targets, lambda f: f.query_value, self.top)
        settings = self.peft.LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=names,  # a list: peft knows no other sequence
        )
        self.peft.inject_adapter_in_model(settings, module)
        return {f"{name}.lora_{part}.default.weight" for name in names for part in "AB"}
