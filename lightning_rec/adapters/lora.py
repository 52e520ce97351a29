"""LoRA: small matrices beside linear maps, by peft.

Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022, arXiv:2106.09685.
"""

from importlib import import_module
from typing import Annotated, Any

from pydantic import Field, PositiveFloat, PositiveInt
from torch import nn

from lightning_rec.adapters.base import Adapter, replace, targets_of
from lightning_rec.errors import UserError

Share = Annotated[float, Field(ge=0, lt=1)]


class LoRA(Adapter):
    """h = W x + (α / r) B A x, where A and B alone are tuned; B begins at 0 (section 4.1).

    Args:
        rank: r, the width between A and B.
        alpha: α; the change is scaled by α / r.
        dropout: on what A reads.
        targets: ends of the names of the linear maps that get one.

    Raises:
        UserError: if peft is not installed.
    """

    def __init__(
        self,
        rank: PositiveInt = 8,
        alpha: PositiveFloat = 16.0,
        dropout: Share = 0.0,
        targets: tuple[str, ...] = ("query", "value"),
    ) -> None:
        self.rank, self.alpha, self.dropout, self.targets = rank, alpha, dropout, targets
        self.peft = _peft()

    def attach(self, module: nn.Module) -> set[str]:
        """Put matrices beside the targets."""
        names = targets_of(module, self.targets)
        settings = self.peft.LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=names,  # a list: peft knows no other sequence
        )
        self.peft.inject_adapter_in_model(settings, module)
        return {f"{name}.lora_{part}.default.weight" for name in names for part in "AB"}

    def merge(self, module: nn.Module) -> None:
        """Add B A to the weights of the targets, and take A and B out."""
        layers = {
            name: each
            for name, each in module.named_modules()
            if isinstance(each, self.peft.tuners.lora.LoraLayer)
        }
        for name, layer in layers.items():
            layer.merge()
            replace(module, name, layer.get_base_layer())


def _peft() -> Any:
    try:
        return import_module("peft")
    except ImportError as error:
        raise UserError(
            "adapter=lora needs peft, which is not installed: pip install 'lightning-rec[hub]'. "
            "adapter=bottleneck and adapter=top_layers do without."
        ) from error
