"""Without adding anything: all weights are tuned, none, those of the top layers, or the biases.

Ben Zaken et al., BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked
Language-models, ACL 2022, arXiv:2106.10199.
"""

from dataclasses import dataclass
from typing import ClassVar

from pydantic import PositiveInt
from torch import nn

from lightning_rec.adapters.base import Adapter
from lightning_rec.adapters.places import top_of, within
from lightning_rec.errors import UserError
from lightning_rec.needs import Need


class Full(Adapter):
    """Every weight is tuned."""

    needs: ClassVar[tuple[Need, ...]] = ()

    def attach(self, module: nn.Module) -> set[str]:
        """Let everything move."""
        module.requires_grad_(True)
        return {name for name, _ in module.named_parameters()}


class Frozen(Adapter):
    """No weight is tuned."""

    def attach(self, module: nn.Module) -> set[str]:
        """Let nothing move."""
        module.requires_grad_(False)
        return set()


@dataclass(eq=False)
class TopLayers(Adapter):
    """The last layers are tuned, and what is registered after them; what is below stays.

    Args:
        k: how many layers.
        layers: dotted name of the list of layers; None takes the longest list there is.
    """

    k: PositiveInt = 1
    layers: str | None = None

    def attach(self, module: nn.Module) -> set[str]:
        """Let the last ``k`` layers move. Raises UserError if there are none, or fewer."""
        top = [module.get_submodule(name) for name in top_of(module, self.k, self.layers, "k")]
        module.requires_grad_(False)
        for part in top:
            part.requires_grad_(True)
        moving = {id(parameter) for part in top for parameter in part.parameters()}
        return {name for name, parameter in module.named_parameters() if id(parameter) in moving}


@dataclass(eq=False)
class BitFit(Adapter):
    """The biases alone are tuned, those of LayerNorms among them: what is called ``bias``.

    Args:
        top: only those in the last layers, and in what is registered after them; None takes all.
    """

    top: PositiveInt | None = None

    def attach(self, module: nn.Module) -> set[str]:
        """Let the biases move. Raises UserError if there are none."""
        names = [name for name, _ in module.named_parameters()]
        biases = [name for name in names if name.rpartition(".")[2] == "bias"]
        if self.top is not None:
            biases = within(biases, top_of(module, self.top))
        if not biases:
            where = f"the last {self.top} layers of " if self.top else ""
            raise UserError(
                f"adapter=bitfit tunes biases, and {where}{type(module).__name__} has none: "
                "adapter=lora, bottleneck and top_layers do without."
            )
        module.requires_grad_(False)
        for name in biases:
            module.get_parameter(name).requires_grad_(True)
        return set(biases)
