"""Vectors as sequences of codes: residual k-means, and optimised product quantisation.

Shapes: N vectors, E their width, m levels, K codes of a level; P parts that are clustered at once,
each of width D.
"""

from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_rec.data.semantic.autoencoder import latent, learn_rq_vae
from lightning_rec.data.semantic.clusters import k_means, moved_to, nearest
from lightning_rec.errors import UserError

Quantizer = Literal["residual", "opq", "rqvae"]

ROTATIONS = 20  # of optimised product quantisation, an iteration of k-means with each


class Codebooks(NamedTuple):
    """What turns vectors into codes.

    centres: float32 [m, K, E] of residual k-means; [m, K, E' / m] of product quantisation, where
        E' is the next multiple of m; [m, K, Z] of RQ-VAE, whose latent vectors have width Z.
    rotation: float32 [E', E], applied first by product quantisation; None for the others.
    layers: weights and biases that lead to the latent vectors of RQ-VAE; else empty.
    """

    centres: Tensor
    rotation: Tensor | None
    layers: tuple[Tensor, ...] = ()

    @property
    def width(self) -> int:
        """E."""
        first = self.layers[0] if self.layers else self.rotation
        return (self.centres if first is None else first).shape[-1]


def learn(vectors: Tensor, quantizer: Quantizer, levels: int, size: int, seed: int) -> Codebooks:
    """Learn codebooks of ``levels`` times ``size`` codes on vectors, float32 [N, E].

    ``residual``: each level is k-means of what the ones before leave (TIGER: Rajput et al.,
    NeurIPS 2023, section 3.1, with k-means in place of its autoencoder). ``opq``: optimised product
    quantisation without parameters (Ge et al., CVPR 2013, algorithm 1), as RPG has it; all levels
    are clustered at once, which faiss does one by one. ``rqvae``: see
    :mod:`lightning_rec.data.semantic.autoencoder`. There are fewer codes where there are fewer
    vectors. The same seed gives the same codebooks. Raises UserError without vectors.
    """
    if not len(vectors):
        raise UserError("Semantic ids are learnt from vectors of items, and there are none.")
    chance = torch.Generator().manual_seed(seed)
    given = vectors.float()
    if quantizer == "rqvae":
        made, layers = learn_rq_vae(given, levels, size, seed)
        return Codebooks(made, None, layers)
    if quantizer == "opq":
        return _product(given, levels, min(size, len(given)), chance)
    rest, centres = given.clone(), []
    for _ in range(levels):
        of_level = k_means(rest[None], min(size, len(rest)), chance)[0]
        rest -= of_level[nearest(rest[None], of_level[None])[0]]
        centres.append(of_level)
    return Codebooks(torch.stack(centres), None)


def encode(vectors: Tensor, books: Codebooks) -> NDArray[np.int64]:
    """The codes of vectors, float32 [N, E] -> int64 [N, m]: the nearest ones, level by level."""
    if books.rotation is not None:
        points = _parts(vectors.float(), books.rotation, len(books.centres))
        return nearest(points, books.centres).T.numpy()
    rest, codes = latent(vectors.float(), books.layers).clone(), []
    for of_level in books.centres:
        codes.append(nearest(rest[None], of_level[None])[0])
        rest -= of_level[codes[-1]]
    return torch.stack(codes, dim=1).numpy()


def decode(codes: NDArray[np.int64], books: Codebooks) -> Tensor:
    """What codes, int64 [N, m], stand for: float32 [N, E], of RQ-VAE [N, Z]."""
    level = torch.arange(len(books.centres))
    chosen = books.centres[level, torch.from_numpy(codes)]  # [N, m, D]
    if books.rotation is None:
        return chosen.sum(dim=1)
    return chosen.flatten(1) @ books.rotation


def _product(given: Tensor, levels: int, number: int, chance: torch.Generator) -> Codebooks:
    """Rotate so that parts of equal width are quantised with the least error."""
    width = -(-given.shape[1] // levels) * levels
    wide = torch.zeros(len(given), width)
    wide[:, : given.shape[1]] = given
    rotation = torch.linalg.qr(torch.randn(width, width, generator=chance)).Q
    points = _parts(wide, rotation, levels)
    centres = k_means(points, number, chance, 1)
    level = torch.arange(levels)[:, None]
    for _ in range(ROTATIONS):
        own = nearest(points, centres)
        centres = moved_to(points, own, centres, chance)
        made = centres[level, own].transpose(0, 1).flatten(1)  # what the codes stand for, rotated
        left, _, right = torch.linalg.svd(made.T @ wide)
        rotation = left @ right
        points = _parts(wide, rotation, levels)
    for _ in range(ROTATIONS):
        centres = moved_to(points, nearest(points, centres), centres, chance)
    return Codebooks(centres, rotation[:, : given.shape[1]].contiguous())


def _parts(vectors: Tensor, rotation: Tensor, levels: int) -> Tensor:
    """Rotated vectors, in parts: float [N, E] -> [m, N, E' / m]."""
    rotated = vectors @ rotation.T
    return rotated.view(len(vectors), levels, -1).transpose(0, 1).contiguous()
