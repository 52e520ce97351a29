"""The interface of adapters, and modules under one: what is tuned, frozen and saved."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from lightning_rec.adapters.places import after, within
from lightning_rec.adapters.probe import Probe
from lightning_rec.errors import UserError, listed
from lightning_rec.files import atomic_path
from lightning_rec.language.cached import weights_hash
from lightning_rec.needs import Need

log = logging.getLogger(__name__)

MARK = "tuned_by"  # attribute of modules that an adapter is attached to
PATIENCE = 32  # steps after which tuning should have had an effect; a power of two
TUNED = "adapter.safetensors"  # in the folder of a run: what was tuned, alone


class AdapterError(Exception):
    """An adapter did what it must not, such as moving a frozen weight: a bug, not bad input."""


class TrainingHook:
    """What goes on beside the steps of one training of a module; for most adapters nothing does."""

    def penalty(self) -> Tensor | float:
        """What joins the loss of each batch, scalar."""
        return 0.0

    def after_step(self, step: int) -> None:
        """Do what follows a step of the optimizer, gradients still there; the first step is 1."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training must find again: tensors, numbers, strings, lists and dicts."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""


class Adapter(ABC):
    """A way to tune a module: which of its weights move, and what is put into it."""

    needs: ClassVar[tuple[Need, ...]] = (
        Need(
            "model|item|encoder",
            "pretrained",
            "tunes what was trained before, and there is nothing to adapt here",
            "drop adapter= (given vectors and pictures are not tuned), or say item=text, or "
            "encoder.run=FOLDER with a model of clicks",
        ),
    )

    @abstractmethod
    def attach(self, module: nn.Module) -> set[str]:
        """Change ``module`` in place, so that what is tuned, and it alone, requires gradients.

        Returns the names, as ``module`` has them afterwards, of the parameters that are tuned.
        Raises UserError where the module has not what is asked for.
        """

    def merge(self, module: nn.Module) -> None:
        """Take out of ``module`` what was put in, its effect added to the weights that stay.

        Raises UserError where that cannot be.
        """
        raise UserError(f"{type(self).__name__} leaves nothing that could be merged.")

    def hook(self, module: nn.Module, total_steps: int) -> TrainingHook:
        """What happens beside the steps of a training of ``module``, which it is attached to."""
        return TrainingHook()

    def outcome(self, module: nn.Module) -> str:
        """What a reader should know of ``module`` after training; empty if nothing."""
        return ""


class AdaptedModule:
    """A module under an adapter, changed in place.

    ``names``: of the parameters that are tuned; ``hook``: what goes on beside the steps of the
    training that was begun. Raises UserError where the module has not what the adapter asks for, or
    is under one already; AdapterError if something else than what was asked for would be tuned.
    """

    def __init__(self, module: nn.Module, adapter: Adapter) -> None:
        self.module, self.adapter, self.hook = module, adapter, TrainingHook()
        if under := _adapter_on(module):
            raise UserError(
                f"{type(module).__name__} is under {under} already, and takes no second adapter: "
                "merge that one first, or load the module anew."
            )
        base = dict(module.named_parameters())
        self.names = adapter.attach(module)
        moving = {name for name, p in module.named_parameters() if p.requires_grad}
        if moving != self.names:
            differing = sorted(moving ^ self.names)
            raise AdapterError(
                f"{type(adapter).__name__} tunes {listed(sorted(moving), 5)}, which is not what "
                f"was asked for ({listed(differing, 5)}). This is a bug: please report it."
            )
        for each in module.modules():
            vars(each)[MARK] = type(adapter).__name__
        self.added = self.names - base.keys()
        self.frozen = {name: p for name, p in base.items() if not p.requires_grad}
        self.base_hash, self.start_hash = weights_hash(self.frozen), weights_hash(self.weights)
        self.begun_hash = self.base_hash
        self.probe: Probe | None = None

    def check(self) -> None:
        """Raise AdapterError if a weight that should stay has moved by a single bit."""
        if weights_hash(self.frozen) != self.begun_hash:
            raise AdapterError(
                f"frozen weights moved under {type(self.adapter).__name__}. This is a bug: please "
                "report it."
            )

    def begin(self, total_steps: int) -> None:
        """Begin a training: what goes on beside its steps is ``hook`` from now on."""
        # trainer.precision=bf16-true has cast them by now
        self.begun_hash = weights_hash(self.frozen)
        self.hook = self.adapter.hook(self.module, total_steps)
        self.probe = Probe(self.module) if self.names else None

    def after_step(self, step: int) -> None:
        """See :meth:`TrainingHook.after_step`; look whether tuning has had an effect by now."""
        self.hook.after_step(step)
        if self.probe is not None and step.bit_count() == 1 and self.probe.moved():
            self.probe = None
        if self.probe is not None and step == PATIENCE:
            log.warning("%s", self._idle(f"the first {step} steps"))

    def conclude(self) -> None:
        """Log what came of a training."""
        if outcome := self.adapter.outcome(self.module):
            log.info("%s: %s", type(self.adapter).__name__, outcome)
        if self.names and (
            weights_hash(self.weights) == self.start_hash
            or (self.probe is not None and not self.probe.moved())
        ):
            log.warning("%s", self._idle("the training"))

    def _idle(self, meanwhile: str) -> str:
        return (
            f"{type(self.adapter).__name__}: after {meanwhile}, "
            f"{type(self.module).__name__} makes of its input what it made before. Is the learning "
            "rate of the tuned part (task.tuned_lr, or else optimizer.lr) high enough?"
        )

    def merge(self) -> None:
        """Put the effect of the adapter into the weights that stay; see :meth:`Adapter.merge`."""
        self.adapter.merge(self.module)
        for each in self.module.modules():
            vars(each).pop(MARK, None)

    def lowest_tuned(self, layers: nn.ModuleList) -> int:
        """The first of ``layers``, a part of the module, whose output tuning can change.

        It is 0 where anything is tuned that comes before the layers, and their number where nothing
        is that comes before their end. Modules registered after the layers are taken to be used
        after them; what an adapter has added elsewhere may act anywhere.
        """
        (name,) = (name for name, each in self.module.named_modules() if each is layers)
        inside = within(self.names, [name])
        later = within(self.names - self.added, after(self.module, name))
        if len(inside) + len(later) < len(self.names):
            return 0
        indices = [int(each.removeprefix(f"{name}.").partition(".")[0]) for each in inside]
        return min(indices, default=len(layers))

    @property
    def weights(self) -> dict[str, Tensor]:
        """What is tuned, by name."""
        return {
            name: parameter.detach()
            for name, parameter in self.module.named_parameters()
            if name in self.names
        }

    @property
    def partial(self) -> bool:
        """Whether something is tuned and something stays, so that saving the former is enough."""
        return bool(self.names) and bool(self.frozen)

    def parts(self) -> dict[str, list[int]]:
        """How many parameters each part of the module has, by name, and how many are tuned."""
        counts: dict[str, list[int]] = {}
        for name, parameter in self.module.named_parameters():
            head, _, rest = name.partition(".")
            number = rest.partition(".")[0]
            part = counts.setdefault(f"{head}.{number}" if number.isdigit() else head, [0, 0])
            part[0] += parameter.numel()
            part[1] += parameter.numel() * (name in self.names)
        return counts

    def report(self) -> None:
        """Log which part has how many parameters, and how many of them are tuned."""
        parts = self.parts()
        parts["total"] = [sum(column) for column in zip(*parts.values(), strict=True)]
        width = max(map(len, parts))
        rows = [f"{name:<{width}}  {all_:>12,}  {own:>12,}" for name, (all_, own) in parts.items()]
        head = f"{'part':<{width}}  {'parameters':>12}  {'tuned':>12}"
        log.info("%s:\n%s", type(self.adapter).__name__, "\n".join([head, *rows]))

    def save(self, path: Path) -> None:
        """Write what is tuned as safetensors, with the hash of the base that it belongs to."""
        state = {name: value.cpu().contiguous() for name, value in self.weights.items()}
        with atomic_path(path) as temporary:
            temporary.write_bytes(save(state, {"base": self.base_hash}))

    def check_base(self, path: Path) -> None:
        """Raise UserError unless what :meth:`save` wrote was tuned on this very base."""
        try:
            with safe_open(path, framework="pt") as file:
                base = (file.metadata() or {}).get("base")
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path} cannot be read: {error}") from error
        if base != self.base_hash:
            raise UserError(f"{path} was tuned on another base model, and fits only that one.")

    def load(self, path: Path) -> None:
        """Read what :meth:`save` wrote. Raises UserError if it is of another base or adapter."""
        self.check_base(path)
        state = load_file(path)
        own = dict(self.module.named_parameters())
        fits = state.keys() == self.names
        if not fits or any(state[name].shape != own[name].shape for name in state):
            raise UserError(
                f"{path} holds weights of another adapter than {type(self.adapter).__name__} with "
                "these settings: build it as it was when they were saved."
            )
        with torch.no_grad():
            for name, value in state.items():
                own[name].copy_(value)


def _adapter_on(module: nn.Module) -> str | None:
    """The adapter that ``module`` or a part of it is under: ours, or one that peft put there."""
    for each in module.modules():
        if MARK in vars(each):
            return str(vars(each)[MARK])
        if hasattr(each, "adapter_layer_names"):
            return type(each).__module__.rpartition("tuners.")[2].partition(".")[0]
    return None
