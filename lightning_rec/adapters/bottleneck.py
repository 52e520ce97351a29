"""Bottleneck adapters: little networks after parts of a layer, near the identity at the start.

Houlsby et al., Parameter-Efficient Transfer Learning for NLP, ICML 2019, arXiv:1902.00751.
Pfeiffer et al., AdapterFusion, EACL 2021, arXiv:2005.00247: one a layer, after the feed-forward.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from lightning_rec.adapters.base import Adapter
from lightning_rec.adapters.places import outputs_of, replace, targets_of

INIT_STD = 0.01  # of the paper, cut off at two deviations


@dataclass(eq=False)
class Bottleneck(Adapter):
    """h + W_up GELU(W_down h + b) + b' after each target; these alone are tuned (figure 2).

    The targets are the linear maps that end a sub-layer, before its residual.

    Args:
        width: of the bottleneck, the paper's m.
        placement: where targets=None puts them: after attention and feed-forward (``houlsby``), or
            after the feed-forward alone (``pfeiffer``).
        targets: what it comes after; None goes by ``placement``.
    """

    width: PositiveInt = 16
    placement: Literal["houlsby", "pfeiffer"] = "houlsby"
    targets: tuple[str, ...] | None = None
    top: PositiveInt | None = None

    def attach(self, module: nn.Module) -> set[str]:
        """Put a network after each target."""
        after_attention = self.placement == "houlsby"
        names = targets_of(
            module,
            self.targets,
            lambda f: (f.attended, f.fed) if after_attention else (f.fed,),
            self.top,
        )
        module.requires_grad_(False)
        for name in names:
            replace(module, name, Followed(module.get_submodule(name), self.width))
        new = ("down.weight", "down.bias", "up.weight", "up.bias")
        return {f"{name}.{part}" for name in names for part in new}


class Followed(nn.Module):
    """A linear map, ``base``, and the bottleneck of ``width`` after it."""

    def __init__(self, base: nn.Module, width: int) -> None:
        super().__init__()
        self.base, outputs = base, outputs_of(base)
        assert outputs is not None
        weight = base.get_parameter("weight")
        like: dict[str, Any] = {"device": weight.device, "dtype": weight.dtype}
        self.down = nn.Linear(outputs, width, **like)
        self.up = nn.Linear(width, outputs, **like)
        with torch.no_grad():
            for linear in (self.down, self.up):
                nn.init.trunc_normal_(linear.weight, std=INIT_STD, a=-2 * INIT_STD, b=2 * INIT_STD)
                nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Float [..., in] -> [..., out]."""
        hidden: Tensor = self.base(x)
        change: Tensor = self.up(functional.gelu(self.down(hidden)))
        return hidden + change
