"""What a bundle holds, before it is written and after it was read: settings, weights, tables."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from lightning_rec.bundle.manifest import WEIGHTS, Kind
from lightning_rec.bundle.tables import checked
from lightning_rec.errors import UserError
from lightning_rec.files import with_usual_modes

LANGUAGE = "language"  # the folder of the language model; that of a first stage begins with first_


@dataclass
class Packed:
    """What makes a predictor.

    Args:
        kind: of the predictor.
        settings: plain values: classes by ``_target_`` of the shipped ones, and their arguments.
        weights: by name.
        tables: written as Parquet, by name; read, and checked, when they are asked for.
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
        """A table; None if the bundle has none of this name.

        Raises UserError if it is broken, or has not the columns that it is to have.
        """
        if name in self.tables:
            return self.tables[name]
        path = self.folder / f"{name}.parquet"
        if not path.is_file():
            return None
        try:
            read = pl.read_parquet(path, glob=False)
        except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            raise UserError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
        self.tables[name] = found = checked(self.kind, name, read)
        return found

    def needed(self, name: str) -> pl.DataFrame:
        """A table. Raises UserError if the bundle has none of this name, or it is broken."""
        found = self.table(name)
        if found is None:
            raise UserError(f"{self.folder} has no {name}.parquet: export it again.")
        return found

    def take(self, prefix: str) -> dict[str, Tensor]:
        """The weights whose name begins with ``prefix``, without it; they are taken out."""
        found = [key for key in self.weights if key.startswith(prefix)]
        return {key.removeprefix(prefix): self.weights.pop(key) for key in found}


def write_language(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a language model of transformers and its tokenizer: settings, words, safetensors."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with_usual_modes(folder)


def write_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors; tied ones each for itself."""
    state, known = {}, set[int]()
    for name, value in weights.items():
        kept = value.detach().cpu().contiguous()
        state[name] = kept.clone() if kept.data_ptr() in known else kept
        known.add(kept.data_ptr())
    path.write_bytes(save(state))


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
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{WEIGHTS} does not fit the model: {reason}") from None
    faults = [*found.unexpected_keys]
    faults += [key for key in found.missing_keys if not key.startswith(elsewhere)]
    if elsewhere and faults:
        raise UserError(f"{WEIGHTS} does not fit the model: {faults[0]} is missing or too much.")
    return model.requires_grad_(False).eval()
