"""IA3: one factor for each key, value and inner unit of the feed-forward, by peft.

Liu et al., Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning,
NeurIPS 2022, arXiv:2205.05638.
"""

from dataclasses import dataclass

from torch import nn

from lightning_rec.adapters.injected import Injected
from lightning_rec.adapters.places import targets_of
from lightning_rec.errors import UserError


@dataclass(eq=False)
class IA3(Injected):
    """Factors, 1 at the start, on what some linear maps give and others read (section 3.3).

    Args:
        targets: maps whose results are scaled; None takes those that make keys and values, as the
            paper does, [] takes none.
        feedforward: maps whose inputs are scaled; None takes those that end a feed-forward, []
            takes none.
    """

    feedforward: tuple[str, ...] | None = None

    def attach(self, module: nn.Module) -> set[str]:
        """Put factors beside the targets."""
        targets, fed, top = self.targets, self.feedforward, self.top
        outputs = inputs = []
        if targets is None or targets:
            outputs = targets_of(module, targets, lambda f: f.key_value, top)
        if fed is None or fed:
            inputs = targets_of(module, fed, lambda f: (f.fed,), top, "feedforward")
        if not outputs + inputs:
            raise UserError("adapter.targets=[] and adapter.feedforward=[] leave nothing to tune.")
        settings = self.peft.IA3Config(
            target_modules=list({*outputs, *inputs}), feedforward_modules=inputs
        )
        self.peft.inject_adapter_in_model(settings, module)
        return {f"{name}.ia3_l.default" for name in (*outputs, *inputs)}
