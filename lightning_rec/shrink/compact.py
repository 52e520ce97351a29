"""Models without the heads and units that pruning has set to 0: they answer the same, sooner."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from lightning_rec.models.parts_of import attentions, feedforwards


@torch.no_grad()
def compacted(model: nn.Module) -> nn.Module:
    """A copy of a model without what is 0 in it, or the model itself if nothing is."""
    if not any(gone(part, groups, *names).any() for _, part, groups, names in _parts(model)):
        return model
    made = deepcopy(model)
    for of_heads, part, groups, (into, out) in _parts(made):
        stays = ~gone(part, groups, into, out)
        if stays.all():
            continue
        if not stays.any():
            stays[0] = True  # a layer needs one
        rows = stays.repeat_interleave(getattr(part, into[0]).out_features // groups)
        for name in into:
            linear = getattr(part, name)
            bias = None if linear.bias is None else linear.bias[rows]
            setattr(part, name, _linear(linear.weight[rows], bias))
        linear = getattr(part, out)
        setattr(part, out, _linear(linear.weight[:, rows], linear.bias))
        if of_heads:
            part.heads = int(stays.sum())
    return made


def gone(part: Any, groups: int, into: tuple[str, ...], out: str) -> Tensor:
    """Which heads or units of a layer are 0 on their way in and out: bool [groups]."""
    zero = (getattr(part, out).weight == 0).all(dim=0)
    for name in into:
        linear = getattr(part, name)
        zero = zero & (linear.weight == 0).all(dim=1)
        if linear.bias is not None:
            zero = zero & (linear.bias == 0)
    return zero.view(groups, -1).all(dim=1)


Part = tuple[bool, Any, int, tuple[tuple[str, ...], str]]


def _parts(model: nn.Module) -> list[Part]:
    """Whether of heads, the module, how many there are, the names of its maps in and out."""
    heads: list[Part] = [
        (True, part, part.heads, (("query", "key", "value"), "output"))
        for part in attentions(model).values()
    ]
    units: list[Part] = [
        (False, part, part.expand.out_features, (("expand",), "contract"))
        for part in feedforwards(model).values()
    ]
    return heads + units


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    made.weight = nn.Parameter(weight.clone(), requires_grad=False)
    if bias is not None:
        made.bias = nn.Parameter(bias.clone(), requires_grad=False)
    return made
