"""What every adapter offers, and what is checked of it: who moves, who does not, what is saved."""

import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from lightning_rec.errors import UserError, listed, nearest
from lightning_rec.files import atomic_path

log = logging.getLogger(__name__)


class AdapterError(Exception):
    """An adapter did what it must not, such as moving a frozen weight: a bug, not bad input."""


class Adapter(ABC):
    """A way to tune a module: which of its weights move, and what is put into it."""

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


class Part(NamedTuple):
    """A part of a module: its name, how many parameters it has, and how many of them are tuned."""

    name: str
    parameters: int
    tuned: int


class Tuned:
    """A module under an adapter.

    Args:
        module: what is tuned; changed in place.
        adapter: how.

    Raises:
        UserError: where the module has not what the adapter asks for.
        AdapterError: if something else than what was asked for would be tuned.
    """

    def __init__(self, module: nn.Module, adapter: Adapter) -> None:
        self.module, self.adapter = module, adapter
        base = dict(module.named_parameters())
        self.names = adapter.attach(module)
        moving = {name for name, p in module.named_parameters() if p.requires_grad}
        if moving != self.names:
            differing = sorted(moving ^ self.names)
            raise AdapterError(
                f"{type(adapter).__name__} tunes {listed(sorted(moving), 5)}, which is not what "
                f"was asked for ({listed(differing, 5)}). This is a bug: please report it."
            )
        self.frozen = {name: p for name, p in base.items() if not p.requires_grad}
        self.base_hash = self._hash()

    def check(self) -> None:
        """Raise AdapterError if a weight that should stay has moved by a single bit."""
        if self._hash() != self.base_hash:
            raise AdapterError(
                f"frozen weights moved under {type(self.adapter).__name__}. This is a bug: please "
                "report it."
            )

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

    def parts(self) -> list[Part]:
        """How many parameters each part of the module has, and how many are tuned."""
        counts: dict[str, list[int]] = {}
        for name, parameter in self.module.named_parameters():
            head, _, rest = name.partition(".")
            number = rest.partition(".")[0]
            part = counts.setdefault(f"{head}.{number}" if number.isdigit() else head, [0, 0])
            part[0] += parameter.numel()
            part[1] += parameter.numel() * (name in self.names)
        return [Part(name, *count) for name, count in counts.items()]

    def report(self) -> None:
        """Log which part has how many parameters, and how many of them are tuned."""
        parts = self.parts()
        total = Part("total", sum(p.parameters for p in parts), sum(p.tuned for p in parts))
        width = max(len(part.name) for part in [*parts, total])
        rows = [f"{p.name:<{width}}  {p.parameters:>12,}  {p.tuned:>12,}" for p in [*parts, total]]
        head = f"{'part':<{width}}  {'parameters':>12}  {'tuned':>12}"
        log.info("%s:\n%s", type(self.adapter).__name__, "\n".join([head, *rows]))

    def save(self, path: Path) -> None:
        """Write what is tuned as safetensors, with the hash of the base that it belongs to."""
        state = {name: value.cpu().contiguous() for name, value in self.weights.items()}
        with atomic_path(path) as temporary:
            temporary.write_bytes(save(state, {"base": self.base_hash}))

    def load(self, path: Path) -> None:
        """Read what :meth:`save` wrote. Raises UserError if it is of another base or adapter."""
        try:
            with safe_open(path, framework="pt") as file:
                base = (file.metadata() or {}).get("base")
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path} cannot be read: {error}") from error
        if base != self.base_hash:
            raise UserError(f"{path} was tuned on another base model, and fits only that one.")
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

    def _hash(self) -> str:
        """SHA-256 of the frozen weights, to the last bit."""
        digest = hashlib.sha256()
        for name, parameter in sorted(self.frozen.items()):
            value = parameter.detach().cpu().contiguous()
            if not value.is_meta:
                digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
                digest.update(value.flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def freeze(module: nn.Module) -> None:
    """Let no parameter of ``module`` move."""
    module.requires_grad_(False)


def outputs_of(module: nn.Module) -> int | None:
    """How wide the result of a linear map is; None for a module that is none.

    The Conv1D of transformers, which GPT-2 is made of, is a linear map too.
    """
    if isinstance(module, nn.Linear):
        return module.out_features
    return int(str(module.nf)) if type(module).__name__ == "Conv1D" else None


def targets_of(module: nn.Module, targets: Iterable[str]) -> list[str]:
    """Names of the linear maps within ``module`` that are targeted, in its order.

    Args:
        module: where they are looked for.
        targets: ends of dotted names: ``query`` is ``layers.0.query`` and ``layers.1.query``.

    Raises:
        UserError: if a target is the end of no name of a linear map; it lists those there are.
    """
    names = [name for name, each in module.named_modules() if outputs_of(each) is not None]
    chosen: set[str] = set()
    for target in targets:
        found = {name for name in names if f".{name}".endswith(f".{target}")}
        if not found:
            ends = list(dict.fromkeys(name.rpartition(".")[2] for name in names))
            raise UserError(
                f"adapter.targets: {type(module).__name__} has no linear map "
                f"'{target}'.{nearest(target, ends)} There are: {listed(ends, 30) or 'none'}."
            )
        chosen |= found
    if not chosen:
        raise UserError("adapter.targets names nothing that would be tuned: say targets=[…].")
    return [name for name in names if name in chosen]


def replace(module: nn.Module, name: str, by: nn.Module) -> None:
    """Put ``by`` where ``name`` is in ``module``."""
    parent, _, last = name.rpartition(".")
    setattr(module.get_submodule(parent), last, by)
