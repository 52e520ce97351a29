"""IA3: one factor for each key, value and inner unit of the feed-forward, by peft.

Liu et al., Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning,
NeurIPS 2022, arXiv:2205.05638.
"""

from pydantic import PositiveInt
from torch import nn

from lightning_rec.adapters.injected import Injected
from lightning_rec.adapters.places import known, targets_of
from lightning_rec.errors import UserError


class IA3(Injected):
    """Factors, 1 at the start, on what some linear maps give and others read (section 3.3).

    Args:
        targets: ends of the names of the linear maps whose results are scaled; None takes those
            that make keys and values, as the paper does.
        feedforward: likewise those whose inputs are scaled; None takes those that end a
            feed-forward, [] takes none.
        top: only in the last layers; None takes all.

    Raises:
        UserError: if peft is not installed.
    """

    def __init__(
        self,
        targets: tuple[str, ...] | None = None,
        feedforward: tuple[str, ...] | None = None,
        top: PositiveInt | None = None,
    ) -> None:
        super().__init__()
        self.targets, self.feedforward, self.top = targets, feedforward, top

    def attach(self, module: nn.Module) -> set[str]:
        """Put factors beside the targets."""
        targets, fed = self.targets, self.feedforward
        if targets is None:
            targets = known(module, lambda family: family.key_value)
        if fed is None:
            fed = known(module, lambda family: (family.fed,), "feedforward")
        outputs = targets_of(module, targets, self.top) if targets else []
        inputs = targets_of(module, fed, self.top, "feedforward") if fed else []
        if not outputs + inputs:
            raise UserError("adapter.targets=[] and adapter.feedforward=[] leave nothing to tune.")
        settings = self.peft.IA3Config(
            target_modules=list({*outputs, *inputs}), feedforward_modules=inputs
        )
        self.peft.inject_adapter_in_model(settings, module)
        return {f"{name}.ia3_l.default" for name in (*outputs, *inputs)}
