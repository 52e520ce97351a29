"""AdaLoRA: small matrices whose ranks shrink to a budget while they are trained, by peft.

Zhang et al., Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning, ICLR 2023,
arXiv:2303.10512.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from lightning_rec.adapters.base import TrainingHook
from lightning_rec.adapters.injected import Injected
from lightning_rec.adapters.places import targets_of
from lightning_rec.ranges import BelowOne


@dataclass(eq=False)
class AdaLoRA(Injected):
    """h = W x + (α / r₀) B diag(E) A x; parts of E are zeroed as the budget shrinks (section 3).

    Args:
        init_rank: r₀, the rank of each target at first.
        rank: what is left on average at the end; the important targets keep more than others.
        alpha: α; the change is scaled by α / r₀.
        dropout: on what A reads.
        targets: None takes the maps that make queries and values.
        warmup: share of the steps before the budget shrinks.
        cooldown: share of the steps after it has shrunk, in which ranks stay.
        interval: steps from one cut to the next.
        orthogonality: what the mean distance of A Aᵀ and Bᵀ B from the identity counts for in the
            loss (equation 4).

    Raises ValueError if the ranks could not shrink, or there is no time in which to do it.
    """

    init_rank: PositiveInt = 12
    rank: PositiveInt = 8
    alpha: PositiveFloat = 16.0
    dropout: BelowOne = 0.0
    warmup: BelowOne = 0.1
    cooldown: BelowOne = 0.3
    interval: PositiveInt = 10
    orthogonality: NonNegativeFloat = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rank >= self.init_rank:
            raise ValueError(
                f"rank={self.rank} must be below init_rank={self.init_rank}, to shrink to it"
            )
        if self.warmup + self.cooldown >= 1:
            raise ValueError(
                f"warmup={self.warmup} and cooldown={self.cooldown} leave no steps between them"
            )

    def attach(self, module: nn.Module) -> set[str]:
        """Put matrices beside the targets."""
        names = targets_of(module, self.targets, lambda f: f.query_value, self.top)
        # How many steps there will be is not known yet: see hook.
        self.peft.inject_adapter_in_model(self._settings(1, target_modules=names), module)
        return {f"{name}.lora_{part}.default" for name in names for part in "ABE"}

    def hook(self, module: nn.Module, total_steps: int) -> "Shrinking":
        """The cuts of the ranks."""
        warmup, cooldown = int(self.warmup * total_steps), int(self.cooldown * total_steps)
        settings = self._settings(
            max(total_steps, cooldown + 2),  # a cut needs a step before it, to know what matters
            tinit=warmup,
            tfinal=cooldown,
            deltaT=self.interval,
            orth_reg_weight=self.orthogonality,
        )
        return Shrinking(module, self.peft.tuners.adalora.RankAllocator, settings)

    def outcome(self, module: nn.Module) -> str:
        """The rank of each target, and of all."""
        ranks = ranks_of(module)
        each = ", ".join(f"{name} {rank}" for name, rank in ranks.items())
        return f"ranks {each}; {sum(ranks.values())} of {len(ranks) * self.init_rank} are left"

    def _settings(self, total_steps: int, **further: Any) -> Any:
        return self.peft.AdaLoraConfig(
            init_r=self.init_rank,
            target_r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            total_step=total_steps,
            **further,
        )


class Shrinking(TrainingHook):
    """The budget of ranks over one training, as peft's AdaLoraModel has it.

    That model does it in a ``forward`` whose result holds the loss, and remembers nothing for a
    training that is resumed. ``allocator``: peft's class that weighs and cuts.
    """

    def __init__(self, module: nn.Module, allocator: Any, settings: Any) -> None:
        self.module, self.weight = module, settings.orth_reg_weight
        self.last = settings.total_step - settings.tfinal  # the step of the last cut
        self.allocator = allocator(module, settings, "default")

    def penalty(self) -> Tensor | float:
        """How far from orthogonal A and B are: the mean of their Frobenius norms, by its weight."""
        if not self.weight:
            return 0.0
        found = dict(self.module.named_parameters())
        grams = [a @ a.T for name, a in found.items() if name.endswith(".lora_A.default")]
        grams += [b.T @ b for name, b in found.items() if name.endswith(".lora_B.default")]
        norms = [torch.linalg.norm(g - torch.eye(len(g), device=g.device)) for g in grams]
        return self.weight * torch.stack(norms).mean()

    def after_step(self, step: int) -> None:
        """Weigh what the step showed to matter, and cut when it is time.

        What is learnt of importance ends before the last cut, which is repeated at each step after
        it, so that what is cut stays so.
        """
        for name, parameter in self.module.named_parameters():
            if ".lora_" in name and parameter.grad is None:  # the batch did not come by here
                parameter.grad = torch.zeros_like(parameter)
        final = step >= self.last
        self.allocator.update_and_allocate(self.module, min(step, self.last), force_mask=final)

    def state_dict(self) -> dict[str, Any]:
        """What was learnt of importance."""
        of = self.allocator
        return {"importance": of.exp_avg_ipt, "uncertainty": of.exp_avg_unc}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        device = next(self.module.parameters()).device
        importance = {name: value.to(device) for name, value in state["importance"].items()}
        uncertainty = {name: value.to(device) for name, value in state["uncertainty"].items()}
        # peft begins anew for names that are not in ipt, which holds nothing of the past itself.
        self.allocator.ipt = dict(importance)
        self.allocator.exp_avg_ipt, self.allocator.exp_avg_unc = importance, uncertainty


def ranks_of(module: nn.Module) -> dict[str, int]:
    """How many elements of each E are not zero, by the name of the target."""
    end = ".lora_E.default"
    return {
        name.removesuffix(end): int(parameter.count_nonzero())
        for name, parameter in module.named_parameters()
        if name.endswith(end)
    }
