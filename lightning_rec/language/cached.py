"""Vectors and hidden states of many texts: computed once, cached, memory-mapped."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from lightning_rec.data.kept import kept
from lightning_rec.language.blocks import cuts, in_blocks
from lightning_rec.language.encoder import TextEncoder
from lightning_rec.language.tokens import Tokenized, places
from lightning_rec.screen import Screen

Floats = NDArray[np.float32]
_ARRAY = "states.npy"


@dataclass(frozen=True)
class Activations:
    """States of all tokens of all texts above the ``depth`` lowest layers of a language model:
    float32 [S, E], memory-mapped, those of a text from ``offsets``, int64 [N + 1].
    """

    depth: int
    offsets: NDArray[np.int64]
    states: Floats

    def take(self, which: Tensor) -> Tensor:
        """Of the texts with these numbers, int64 [n]: float [n, T, E], 0 behind the end."""
        at, inside = places(self.offsets, which.numpy())
        found = self.states[np.where(inside, at, 0)]
        found[~inside] = 0
        return torch.from_numpy(found)


def read_vectors(encoder: TextEncoder, tokens: Tokenized, folder: Path) -> Tensor:
    """The vector of each text, float32 [N, E], memory-mapped from ``folder``; made if need be."""

    def write(out: Floats, which: NDArray[np.int64]) -> None:
        out[which] = encoder(tokens.take(which).to(_device(encoder))).float().cpu().numpy()

    return torch.from_numpy(_kept(folder, (len(tokens), encoder.width), tokens, encoder, write))


def read_lower(encoder: TextEncoder, tokens: Tokenized, depth: int, folder: Path) -> Activations:
    """States above the ``depth`` lowest layers, memory-mapped from ``folder``; made if need be."""

    def write(out: Floats, which: NDArray[np.int64]) -> None:
        batch = tokens.take(which)
        states = encoder.lower(batch.to(_device(encoder)), depth).float().cpu().numpy()
        at, inside = places(tokens.offsets, which)
        out[at[inside]] = states[inside]

    shape = (int(tokens.offsets[-1]), encoder.width)
    return Activations(depth, tokens.offsets, _kept(folder, shape, tokens, encoder, write))


def agrees(encoder: TextEncoder, tokens: Tokenized, lower: Activations) -> bool:
    """Whether the language model goes on from what was kept as if it had begun from the start. Not
    every architecture hands states from layer to layer as this takes for granted.
    """
    few = torch.arange(min(4, len(tokens)))
    batch, device = tokens.take(few.numpy()), _device(encoder)
    with torch.no_grad():
        whole = encoder(batch.to(device))
        on = encoder(batch.to(device), lower.take(few).to(device), lower.depth)
    return torch.allclose(whole, on, atol=1e-5)


def read_all(encoder: TextEncoder, tokens: Tokenized) -> Tensor:
    """The vector of each text, float [N, E], in memory."""
    lengths, device = torch.from_numpy(tokens.lengths), _device(encoder)
    return in_blocks(lengths, lambda rows: encoder(tokens.take(rows.numpy()).to(device)))


def weights_hash(weights: Mapping[str, Tensor]) -> str:
    """Hex SHA-256 of weights and their names, to the last bit; those on ``meta`` left out."""
    # Versions of tensors would cost less, but fused optimizers move weights without raising them.
    digest = hashlib.sha256()
    for name, weight in sorted(weights.items()):
        if not weight.is_meta:
            value = weight.detach().cpu().contiguous()
            digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            digest.update(value.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _kept(
    folder: Path,
    shape: tuple[int, ...],
    tokens: Tokenized,
    encoder: TextEncoder,
    write: Callable[[Floats, NDArray[np.int64]], None],
) -> Any:
    """The array in ``folder``, float32 of ``shape``; filled first, block by block, if it is not."""

    def make(made: Path) -> None:
        out = np.lib.format.open_memmap(made / _ARRAY, "w+", np.float32, shape)
        mode = encoder.training
        encoder.eval()
        # Whoever finds them later may ask for full precision.
        order = np.argsort(tokens.lengths, kind="stable")  # texts of about one length
        blocks = np.split(order, cuts(tokens.lengths[order].tolist())[:-1])
        told = f"Reading {len(tokens):,} texts"
        with torch.no_grad(), torch.autocast(_device(encoder).type, enabled=False):
            for which in track(blocks, told, **Screen(stderr=True).transient):
                write(out, which)
        encoder.train(mode)
        out.flush()

    # Torch warns of arrays that cannot be written.
    return np.load(kept(folder, make) / _ARRAY, mmap_mode="c", allow_pickle=False)


def _device(encoder: TextEncoder) -> torch.device:
    return next(encoder.parameters()).device


def kept_vectors(encoder: TextEncoder, tokens: Tokenized, folder: Path) -> Tensor:
    """The vector of each text, float [N, E]: kept in ``folder`` unless the encoder is tuned."""
    if any(parameter.requires_grad for parameter in encoder.parameters()):
        return read_all(encoder, tokens)
    settings = f"{encoder.pooling} {encoder.normalize} {weights_hash(encoder.state_dict())}"
    digest = hashlib.sha256(settings.encode())
    for array in (tokens.offsets, tokens.ids):
        digest.update(np.ascontiguousarray(array).tobytes())
    return read_vectors(encoder, tokens, folder / digest.hexdigest()[:24] / "vectors")
