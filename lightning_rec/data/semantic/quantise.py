"""Vectors as sequences of codes: residual k-means, and optimised product quantisation.

Shapes: N vectors, E their width, m levels, K codes of a level; P parts that are clustered at once,
each of width D.
"""

import math
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_rec.errors import UserError

Quantizer = Literal["residual", "opq"]

ITERATIONS = 25  # of k-means
ROTATIONS = 20  # of optimised product quantisation, an iteration of k-means with each
TINY = 1e-12  # of a chance, where all points are at centres
DISTANCES = 2**25  # that are held at once


class Codebooks(NamedTuple):
    """What turns vectors into codes.

    centres: float32 [m, K, E] of residual k-means; [m, K, E' / m] of product quantisation, where
        E' is the next multiple of m.
    rotation: float32 [E', E], applied first by product quantisation; None for residual k-means.
    """

    centres: Tensor
    rotation: Tensor | None


def learn(vectors: Tensor, quantizer: Quantizer, levels: int, size: int, seed: int) -> Codebooks:
    """Learn codebooks of ``levels`` times ``size`` codes on vectors, float32 [N, E].

    ``residual``: each level is k-means of what the ones before leave (TIGER: Rajput et al.,
    NeurIPS 2023, section 3.1, with k-means in place of its autoencoder). ``opq``: optimised product
    quantisation without parameters (Ge et al., CVPR 2013, algorithm 1), as RPG has it; all levels
    are clustered at once, which faiss does one by one. There are fewer codes where there are fewer
    vectors. The same seed gives the same codebooks. Raises UserError without vectors.
    """
    if not len(vectors):
        raise UserError("Semantic ids are learnt from vectors of items, and there are none.")
    chance = torch.Generator().manual_seed(seed)
    given = vectors.float()
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
    rest, codes = vectors.float().clone(), []
    for of_level in books.centres:
        codes.append(nearest(rest[None], of_level[None])[0])
        rest -= of_level[codes[-1]]
    return torch.stack(codes, dim=1).numpy()


def decode(codes: NDArray[np.int64], books: Codebooks) -> Tensor:
    """What codes, int64 [N, m], stand for: float32 [N, E]."""
    level = torch.arange(len(books.centres))
    chosen = books.centres[level, torch.from_numpy(codes)]  # [N, m, D]
    if books.rotation is None:
        return chosen.sum(dim=1)
    return chosen.flatten(1) @ books.rotation


def k_means(
    points: Tensor, number: int, chance: torch.Generator, iterations: int = ITERATIONS
) -> Tensor:
    """Centres of P clusterings at once (Lloyd 1982): float [P, N, D] -> [P, number, D].

    They begin as points drawn by the square of their distance from those before, the best of a few
    (greedy k-means++: Arthur and Vassilvitskii, SODA 2007); a centre without points is drawn anew.
    """
    parts, tries = torch.arange(len(points)), 2 + int(math.log(number))
    centres = points[parts, torch.randint(points.shape[1], (len(points),), generator=chance)][
        :, None
    ]
    far = (points - centres).square().sum(dim=2)
    for _ in range(number - 1):
        drawn = torch.multinomial(far + TINY, tries, replacement=True, generator=chance)
        left = torch.cdist(points[parts[:, None], drawn], points).square_()  # [P, tries, N]
        left = torch.minimum(left, far[:, None])
        best = left.sum(dim=2).argmin(dim=1)
        far = left[parts, best]
        centres = torch.cat([centres, points[parts, drawn[parts, best]][:, None]], dim=1)
    for _ in range(iterations):
        centres = _moved(points, nearest(points, centres), centres, chance)
    return centres


def nearest(points: Tensor, centres: Tensor) -> Tensor:
    """The nearest centre of each point: float [P, N, D], [P, K, D] -> int64 [P, N]."""
    half = centres.square().sum(dim=2, keepdim=True) / 2
    near = torch.cat([centres, -half], dim=2).transpose(1, 2)  # its product is all there is to do
    step = max(1, DISTANCES // (centres.shape[0] * centres.shape[1]))
    found = []
    for block in points.split(step, dim=1):
        alike = torch.cat([block, block.new_ones(*block.shape[:2], 1)], dim=2) @ near
        found.append(torch.from_numpy(alike.numpy().argmax(axis=2)))  # sooner than torch's
    return torch.cat(found, dim=1)


def _moved(points: Tensor, own: Tensor, centres: Tensor, chance: torch.Generator) -> Tensor:
    """Each centre as the mean of the points that are its ``own``, int64 [P, N]."""
    parts, number, width = centres.shape
    flat = (own + number * torch.arange(parts)[:, None]).flatten()
    count = torch.bincount(flat, minlength=parts * number)
    total = points.new_zeros(parts * number, width).index_add_(0, flat, points.flatten(0, 1))
    moved = (total / count.clamp(min=1)[:, None]).view_as(centres)
    empty = (count == 0).view(parts, number)
    for part in empty.any(dim=1).nonzero()[:, 0].tolist():
        lost = empty[part].nonzero()[:, 0]
        far = (points[part] - centres[part][own[part]]).square().sum(dim=1)
        drawn = torch.multinomial(far + TINY, len(lost), generator=chance)
        moved[part][lost] = points[part][drawn]
    return moved


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
        centres = _moved(points, own, centres, chance)
        made = centres[level, own].transpose(0, 1).flatten(1)  # what the codes stand for, rotated
        left, _, right = torch.linalg.svd(made.T @ wide)
        rotation = left @ right
        points = _parts(wide, rotation, levels)
    for _ in range(ROTATIONS):
        centres = _moved(points, nearest(points, centres), centres, chance)
    return Codebooks(centres, rotation[:, : given.shape[1]].contiguous())


def _parts(vectors: Tensor, rotation: Tensor, levels: int) -> Tensor:
    """Rotated vectors, in parts: float [N, E] -> [m, N, E' / m]."""
    rotated = vectors @ rotation.T
    return rotated.view(len(vectors), levels, -1).transpose(0, 1).contiguous()
