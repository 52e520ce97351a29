"""Beam search over a trie of codes, whatever says how probable the next code is.

Shapes: N queries, n nodes that are kept, C leaves, K codes of all levels.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lightning_rec.models.trie import Trie

Step = Callable[[Tensor, Tensor], Tensor]
"""Goes on with the codes that were kept, int64 [N, n], each behind one of the nodes that were kept
before, int64 [N, n]: log-probabilities of the codes that follow, float [N, n, K]."""


def beam(
    trie: Trie, said: Tensor, step: Step, width: int, left: Tensor | None, *, ends: bool = False
) -> Tensor:
    """The best leaves, -1 for none, and their scores: float [N, 2 width].

    Args:
        trie: of the ids.
        said: log-probabilities of the first code, float [N, 1, K].
        step: see :data:`Step`.
        width: how many nodes are kept at each level.
        left: bool [N, C], leaves that are no candidates; None: there are none.
        ends: whether ids end with one more step, whose log-probability is behind those of codes,
            float [N, n, K + 1].
    """
    blocked = [] if left is None else blocked_nodes(trie, left)
    nodes = torch.zeros(len(said), 1, dtype=torch.int64, device=said.device)
    score = said.new_zeros(len(said), 1)
    for level in range(trie.levels):
        begin, end = trie.starts[level][nodes], trie.starts[level][nodes + 1]
        places = torch.arange(int((end - begin).max()), device=said.device)
        below = (begin[..., None] + places).clamp(max=len(trie.tokens[level + 1]) - 1)
        codes = trie.tokens[level + 1][below]  # [N, n, most]
        made = score[..., None] + said.gather(2, codes)
        made = made.masked_fill(places >= (end - begin)[..., None], -torch.inf).flatten(1)
        if blocked:
            made = made.masked_fill(blocked[level].gather(1, below.flatten(1)), -torch.inf)
        score, best = made.topk(min(width, made.shape[1]), dim=1)
        up, nodes = best // len(places), below.flatten(1).gather(1, best)
        if ends or level < trie.levels - 1:
            said = step(trie.tokens[level + 1][nodes], up)
    if ends:
        score = score + said[..., -1]
    nodes = nodes.masked_fill(score == -torch.inf, -1)
    more = width - nodes.shape[1]
    nodes = nn.functional.pad(nodes, (0, more), value=-1)
    return torch.cat([nodes.to(score), nn.functional.pad(score, (0, more))], dim=1)


def blocked_nodes(trie: Trie, left: Tensor) -> list[Tensor]:
    """Nodes none of whose leaves is a candidate, of each level from 1 on: bool [N, nodes].

    ``left``: bool [N, C], leaves that are none.
    """
    blocked = [left]
    for start in reversed(trie.starts[1:]):
        before = nn.functional.pad((~blocked[0]).cumsum(dim=1), (1, 0))
        blocked.insert(0, before[:, start[1:]] == before[:, start[:-1]])
    return blocked
