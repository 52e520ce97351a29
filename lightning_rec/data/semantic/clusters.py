"""k-means, several clusterings at once. Shapes: P clusterings of N points of width D, K centres."""

import math

import torch
from torch import Tensor

ITERATIONS = 25
TINY = 1e-12  # of a chance, where all points are at centres
DISTANCES = 2**25  # that are held at once


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
        centres = moved_to(points, nearest(points, centres), centres, chance)
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


def moved_to(points: Tensor, own: Tensor, centres: Tensor, chance: torch.Generator) -> Tensor:
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
