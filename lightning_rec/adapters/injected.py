"""What adapters by peft share: peft itself, and how what it put beside linear maps goes again."""

from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from pydantic import PositiveInt
from torch import nn

from lightning_rec.adapters.base import Adapter
from lightning_rec.adapters.places import replace
from lightning_rec.errors import import_extra


@dataclass(eq=False)
class Injected(Adapter):
    """An adapter that peft puts beside linear maps, and can merge into them.

    Args:
        targets: ends of the names of the linear maps that are changed; None takes those that the
            architecture is known for.
        top: only those in so many last layers.

    Raises UserError if peft is not installed.
    """

    _: KW_ONLY
    targets: tuple[str, ...] | None = None
    top: PositiveInt | None = None

    def __post_init__(self) -> None:
        self.peft = peft_for(type(self).__name__.lower())

    def merge(self, module: nn.Module) -> None:
        """Put the change into the weights of the linear maps, and take the rest out."""
        layers = {
            name: each
            for name, each in module.named_modules()
            if isinstance(each, self.peft.tuners.tuners_utils.BaseTunerLayer)
        }
        for name, layer in layers.items():
            with torch.no_grad():
                layer.merge()
            replace(module, name, layer.get_base_layer())
        vars(module).pop("peft_config", None)  # peft would take it for a second adapter's


def peft_for(name: str) -> Any:
    """The peft package. Raises UserError if it is not installed, naming what does without."""
    without = "adapter=bottleneck, bitfit and top_layers do without."
    return import_extra("peft", f"adapter={name}", "hub", without)
