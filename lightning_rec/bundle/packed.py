"""What a bundle holds, before it is written and after it was read: settings, weights, tables."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lightning_rec.bundle.manifest import Kind
from lightning_rec.errors import UserError


@dataclass
class Packed:
    """What makes a predictor.

    Args:
        kind: of the predictor.
        settings: plain values: classes by ``_target_`` of the shipped ones, and their arguments.
        weights: by name.
        tables: written as Parquet, by name; read when they are asked for.
        folders: what writes further folders, by name, such as language models.
        folder: where it was read from.
    """

    kind: Kind
    settings: dict[str, Any]
    weights: dict[str, Tensor]
    tables: dict[str, pl.DataFrame] = field(default_factory=dict)
    folders: dict[str, Callable[[Path], None]] = field(default_factory=dict)
    folder: Path = Path()

    def table(self, name: str) -> pl.DataFrame | None:
        """A table; None if the bundle has none of this name. Raises UserError if it is broken."""
        path = self.folder / f"{name}.parquet"
        if not path.is_file():
            return None
        try:
            return pl.read_parquet(path, glob=False)
        except pl.exceptions.PolarsError as error:
            raise UserError(f"{path} cannot be read: {error}") from error

    def below(self, prefix: str) -> dict[str, Tensor]:
        """The weights whose name begins with ``prefix``, without it."""
        found = self.weights.items()
        return {key.removeprefix(prefix): value for key, value in found if key.startswith(prefix)}


def write_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors; tied ones each for itself."""
    state, known = {}, set[int]()
    for name, value in weights.items():
        kept = value.detach().cpu().contiguous()
        state[name] = kept.clone() if kept.data_ptr() in known else kept
        known.add(kept.data_ptr())
    save_file(state, path)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read what :func:`write_weights` wrote. Raises UserError if it is missing or broken."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from error


def load(
    model: nn.Module, weights: Mapping[str, Tensor], elsewhere: tuple[str, ...] = ()
) -> nn.Module:
    """Put weights into a model, to be used and not trained.

    ``elsewhere``: how names of weights begin that come from other files.

    Raises UserError where they do not fit.
    """
    try:
        found = model.load_state_dict(dict(weights), strict=not elsewhere)
    except RuntimeError as error:
        raise UserError(
            f"The weights do not fit the model: {' '.join(str(error).split())}"
        ) from None
    faults = [*found.unexpected_keys]
    faults += [key for key in found.missing_keys if not key.startswith(elsewhere)]
    if elsewhere and faults:
        raise UserError(f"The weights do not fit the model: {faults[0]} is missing or too much.")
    return model.requires_grad_(False).eval()
