"""RQ-VAE: an autoencoder whose latent vectors are quantised by residuals.

Lee et al., CVPR 2022; as TIGER has it: Rajput et al., NeurIPS 2023, section 3.1. Shapes: N vectors,
E their width, Z = LATENT, m levels, K codes of a level.
"""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.semantic.clusters import k_means, nearest

WIDTHS, LATENT = (512, 256, 128), 32  # the paper's
COMMITMENT = 0.25  # β
STEPS, BATCH, RATE = 2000, 1024, 1e-3
EVERY = 50  # steps, after which codes that none used begin anew


class RQVAE(nn.Module):
    """Maps down to Z and back up, and the codes of each level between them."""

    def __init__(self, width: int, levels: int, size: int) -> None:
        super().__init__()
        widths = (width, *WIDTHS, LATENT)
        self.down, self.up = _layers(widths), _layers(widths[::-1])
        self.centres = nn.Parameter(torch.zeros(levels, size, LATENT))

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """The loss of float [N, E], a scalar; and of each level codes [N], and residuals [N, Z]."""
        latent = self.down(x)
        rest, total, loss = latent, torch.zeros_like(latent), latent.new_zeros(())
        codes, residuals = [], []
        for centres in self.centres:
            residuals.append(rest.detach())
            codes.append(nearest(rest.detach()[None], centres.detach()[None])[0])
            chosen = centres[codes[-1]]
            loss = loss + _distance(chosen, rest.detach())
            loss = loss + COMMITMENT * _distance(rest, chosen.detach())
            total, rest = total + chosen.detach(), rest - chosen.detach()
        straight = latent + (total - latent).detach()  # gradients pass as if nothing was rounded
        return _distance(self.up(straight), x) + loss, codes, residuals


def learn_rq_vae(
    vectors: Tensor, levels: int, size: int, seed: int, steps: int = STEPS
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Codes, float [m, K, Z], and the weights and biases of the maps down to Z, of float [N, E].

    Codes begin as k-means of a batch, and those that nothing uses for a while as residuals that are
    drawn: else most of them would die.
    """
    chance = torch.Generator().manual_seed(seed)
    scale = vectors.std().clamp(min=torch.finfo(torch.float32).tiny)
    given, batch = vectors / scale, min(BATCH, len(vectors))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = RQVAE(given.shape[1], levels, min(size, batch))
    _begin(model, given[torch.randperm(len(given), generator=chance)[:batch]], chance)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    used = torch.zeros(model.centres.shape[:2], dtype=torch.bool)
    for step in range(1, steps + 1):
        rows = torch.randint(len(given), (batch,), generator=chance)
        loss, codes, residuals = model(given[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for level, own in enumerate(codes):
            used[level, own] = True
        if step % EVERY == 0 and step < steps:
            _revive(model, used, residuals, chance)
            used[:] = False
    maps = [layer for layer in model.down if isinstance(layer, nn.Linear)]
    weights = [each.detach() for layer in maps for each in (layer.weight, layer.bias)]
    weights[0] = weights[0] / scale
    return model.centres.detach(), tuple(weights)


def latent(vectors: Tensor, weights: tuple[Tensor, ...]) -> Tensor:
    """What the maps make of vectors: float [N, E] -> [N, Z]."""
    number = len(weights) // 2
    for layer in range(number):
        vectors = F.linear(vectors, *weights[2 * layer : 2 * layer + 2])
        vectors = vectors if layer == number - 1 else F.relu(vectors)
    return vectors


@torch.no_grad()
def _begin(model: RQVAE, given: Tensor, chance: torch.Generator) -> None:
    rest = model.down(given)
    for centres in model.centres:
        centres.copy_(k_means(rest[None], len(centres), chance)[0])
        rest = rest - centres[nearest(rest[None], centres[None])[0]]


@torch.no_grad()
def _revive(model: RQVAE, used: Tensor, residuals: list[Tensor], chance: torch.Generator) -> None:
    for level, rest in enumerate(residuals):
        dead = (~used[level]).nonzero()[:, 0]
        drawn = torch.randint(len(rest), (len(dead),), generator=chance)
        model.centres[level, dead] = rest[drawn]


def _layers(widths: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _distance(one: Tensor, other: Tensor) -> Tensor:
    """The mean squared length of the difference of rows."""
    return (one - other).square().sum(dim=1).mean()
