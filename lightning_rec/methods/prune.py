"""Pruning: a trained model without its smallest weights, heads, units or some layers learns on.

Han et al., Learning both Weights and Connections, NeurIPS 2015, arXiv:1506.02626 (weights); Michel,
Levy and Neubig, Are Sixteen Heads Really Better than One?, NeurIPS 2019, arXiv:1905.10650 (heads);
Sanh et al., DistilBERT, 2019, arXiv:1910.01108 (a student begins with every other layer).
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_rec.errors import UserError
from lightning_rec.methods.base import Method, Trained
from lightning_rec.models.parts_of import attentions, feedforwards
from lightning_rec.ranges import BelowOne

What = Literal["weights", "heads", "units", "layers"]


class Prune(Method):
    """Training goes on from a run, without a share of what it has.

    What is cut is set to 0 and kept there, so that the run is one of the same model; what the verb
    ``shrink`` writes is without heads and units that are 0. Layers are left out at once:
    ``model.depth`` says how many there are, and they begin as those of the run, evenly spaced.

    Args:
        run: folder of a completed run of the same data, protocol and model.
        of: ``weights``: the smallest of each matrix and table; ``heads`` of attention and ``units``
            of feed-forward layers: those whose weights have the smallest norms; ``layers``.
        share: of them that is cut; of ``layers`` ``model.depth`` says it.
        load: loads the run.
    """

    def __init__(
        self,
        run: str | None = None,
        of: What = "weights",
        share: BelowOne = 0.5,
        load: Callable[[str], nn.Module] | None = None,
    ) -> None:
        if run is None:
            raise UserError("method.run is not set: name the folder of a completed run.")
        self.run, self.of, self.share, self.load = run, of, share, load
        self._kept: dict[str, Tensor] = {}

    @property
    def reads(self) -> dict[str, str]:
        """The run that it goes on from, by key."""
        return {"method.run": self.run}

    def optimizers(self, task: Trained) -> list[Optimizer]:
        """Begin with the weights of the run. Raises UserError if they do not fit the model."""
        assert self.load is not None
        model, source = task.model, self.load(self.run)
        state = _spaced(source, model) if self.of == "layers" else source.state_dict()
        try:
            with torch.no_grad():
                fresh = {name: each.clone() for name, each in model.state_dict().items()}
                model.load_state_dict(state)
                self._kept = masks(model, self.of, self.share)
                if task.restored:  # a training that goes on has its own weights already
                    model.load_state_dict(fresh)
        except RuntimeError as error:
            raise UserError(
                f"method.run={self.run} has weights of other shapes than this model: give the "
                "settings of its model; with method.of=layers all but model.depth."
            ) from error
        self._apply(model)
        return super().optimizers(task)

    def before_optimizer_step(self, task: Trained, optimizer: Optimizer) -> None:
        """What was cut gets no gradient, so that it stays 0."""
        for name, weight in task.model.named_parameters():
            if name in self._kept and weight.grad is not None:
                weight.grad.mul_(self._kept[name].to(weight.device))

    @torch.no_grad()
    def _apply(self, model: nn.Module) -> None:
        for name, weight in model.named_parameters():
            if name in self._kept:
                weight.mul_(self._kept[name].to(weight.device))


@torch.no_grad()
def masks(model: nn.Module, of: What, share: float) -> dict[str, Tensor]:
    """What stays of each weight, by name: 1 or 0, of the weight's shape.

    Raises UserError if the model has none of what is to be cut.
    """
    if of == "layers":
        return {}
    if of == "weights":
        kinds = (nn.Linear, nn.Embedding)
        return {
            f"{name}.weight": _largest(module.weight, share)
            for name, module in model.named_modules()
            if isinstance(module, kinds)
        }
    found = attentions(model) if of == "heads" else feedforwards(model)
    kept: dict[str, Tensor] = {}
    for name, part in found.items():
        groups = part.heads if of == "heads" else part.expand.out_features
        into = ("query", "key", "value") if of == "heads" else ("expand",)
        out = "output" if of == "heads" else "contract"
        size = _norms([getattr(part, each).weight for each in into], groups)
        size = size + _norms([getattr(part, out).weight.T], groups)
        stays = _stays(size, share).repeat_interleave(getattr(part, into[0]).out_features // groups)
        for each in into:
            linear = getattr(part, each)
            kept[f"{name}.{each}.weight"] = stays[:, None].expand_as(linear.weight).clone()
            if linear.bias is not None:
                kept[f"{name}.{each}.bias"] = stays
        kept[f"{name}.{out}.weight"] = stays[None].expand_as(getattr(part, out).weight).clone()
    if not kept:
        raise UserError(
            f"method.of={of}: this model has none that can be cut; method.of=weights cuts those of "
            "any model."
        )
    return kept


def _largest(weight: Tensor, share: float) -> Tensor:
    """1 for the largest of a matrix, 0 for the ``share`` of the smallest."""
    number = int(share * weight.numel())
    kept = torch.ones(weight.numel(), dtype=weight.dtype)
    kept[weight.abs().flatten().cpu().argsort(stable=True)[:number]] = 0
    return kept.view(weight.shape)


def _norms(weights: list[Tensor], groups: int) -> Tensor:
    """The sum of squares of the rows of matrices, in groups of neighbours: float [groups]."""
    rows = sum(each.square().sum(dim=1).view(groups, -1).sum(dim=1) for each in weights)
    return torch.as_tensor(rows).cpu()


def _stays(size: Tensor, share: float) -> Tensor:
    """1 for groups that stay, at least one, 0 for the ``share`` of the smallest: float [groups]."""
    number = min(len(size) - 1, round(share * len(size)))
    kept = torch.ones(len(size))
    kept[size.argsort(stable=True)[:number]] = 0
    return kept


def _spaced(source: nn.Module, model: nn.Module) -> dict[str, Any]:
    """The weights of a deeper model for one of fewer layers, the first and the last among them."""
    state = dict(source.state_dict())
    deeper = dict(source.named_modules())
    for name, layers in model.named_modules():
        theirs = deeper.get(name)
        if not isinstance(layers, nn.ModuleList) or not isinstance(theirs, nn.ModuleList):
            continue
        chosen = np.linspace(0, len(theirs) - 1, len(layers)).round().astype(int)
        taken = {
            f"{name}.{place}.{key}": value
            for place, layer in enumerate(chosen)
            for key, value in theirs[int(layer)].state_dict().items()
        }
        state = {key: each for key, each in state.items() if not key.startswith(f"{name}.")} | taken
    return state
