"""TIGER: an encoder reads the semantic ids of a history, a decoder says that of the next item.

Rajput et al., Recommender Systems with Generative Retrieval, NeurIPS 2023, arXiv:2305.05065.
Shapes: as in :class:`BeamedModel`; B sequences, L positions, T tokens of the longest history, D =
dim, M queries, C leaves of the trie of all ids.
"""

from collections.abc import Iterator
from itertools import pairwise

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from lightning_rec.data.semantic.quantise import Quantizer
from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.beam import beam
from lightning_rec.models.sequential.beamed import BeamedModel
from lightning_rec.models.t5 import Decoder, Encoder, Memory, Shape, initialise
from lightning_rec.ranges import BelowOne, Layers

TOKENS = 8192  # that are encoded at once
BYTES = 2**26  # of what nodes look back at


class TIGER(BeamedModel):
    """T5 over codes, from scratch, without the paper's tokens of users.

    A query is what the encoder makes of a history up to its position. Its score of an item is the
    log-likelihood of the item's id, a softmax over all codes at each digit. Without a beam all ids
    are scored, level by level over their trie; with one the ids that beam search finds among those
    that are there, and no others.

    Args:
        depth: layers of the encoder, and of the decoder.
        width: of a head.
        inner: width of the feed-forward layers.
        beam: how many ids are kept at each level; None ranks all. At least the largest cut-off.
        quantizer, levels, codes, unique: how semantic ids are made; the paper's are of an
            autoencoder, three levels of 256 and a last digit.
    """

    def __init__(
        self,
        schema: Schema,
        dim: PositiveInt = 128,
        depth: Layers = 4,
        heads: PositiveInt = 6,
        width: PositiveInt = 64,
        inner: PositiveInt = 1024,
        dropout: BelowOne = 0.1,
        beam: PositiveInt | None = 50,
        quantizer: Quantizer = "residual",
        levels: Layers = 3,
        codes: PositiveInt = 256,
        unique: bool = True,
    ) -> None:
        super().__init__(schema, beam, quantizer, levels, codes, unique)
        self.dim = dim
        self.most_tokens = schema.max_len * self.levels
        self.query_width = 1 + self.most_tokens * dim  # before anything is found
        shape = Shape(dim, depth, heads, width, inner, dropout)
        self.node_bytes = 8 * self.levels * depth * heads * width
        self.of_code = nn.Embedding(self.levels * codes + 1, dim)  # the last one begins
        self.encoder, self.decoder = Encoder(shape), Decoder(shape)
        nn.init.normal_(self.of_code.weight)
        initialise(self, shape)

    @property
    def at_once(self) -> int:
        """As many as what nodes look back at leaves room for."""
        return max(1, BYTES // (self.node_bytes * min(64, self.beam or 64)))

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """Queries, float [M, 1 + T D]: the number of tokens, and the encoder's states."""
        items = histories.items
        row, at = torch.arange(len(items), device=items.device), positions
        if positions.dtype == torch.bool:
            row, at = positions.nonzero(as_tuple=True)
        items = items.clamp(max=self.schema.num_items - 1)
        number = (at + 1) * self.levels
        states = torch.zeros(len(row), self.most_tokens, self.dim, device=items.device)
        for rows, longest in by_length(number):
            lengths = number[rows]
            made = self.encoder(self._inputs(items[row[rows], : longest // self.levels]), lengths)
            inside = torch.arange(longest, device=items.device) < lengths[:, None]
            states[rows, :longest] = made.masked_fill(~inside[..., None], 0).to(states)
        return torch.cat([number[:, None].to(states), states.flatten(1)], dim=1)

    def search(self, queries: Tensor, left: Tensor | None) -> Tensor:
        """See :meth:`BeamedModel.search`."""
        memory = self._memory(queries)
        if self.beam is None:
            return self._all(memory)
        said, past = self._begun(memory)

        def step(tokens: Tensor, up: Tensor) -> Tensor:
            nonlocal past
            which = up.view(1, *up.shape, 1, 1, 1)
            past = [of.gather(2, which.expand(2, -1, -1, *of.shape[3:])) for of in past]
            made, past = self._step(tokens, past, memory)
            return made

        return beam(self.trie, said, step, self.beam, left)

    def _inputs(self, items: Tensor) -> Tensor:
        """What the encoder reads of items, int64 [N, n]: float [N, n m, D]."""
        made: Tensor = self.of_code(self.codes[items].flatten(1))
        return made

    def _memory(self, queries: Tensor) -> Memory:
        """What the decoder reads of some queries, cut to the longest."""
        lengths = queries[:, 0].long()
        states = queries[:, 1 : self.query_width].view(len(queries), -1, self.dim)
        return self.decoder.memory(states[:, : int(lengths.max())], lengths)

    def _step(
        self, tokens: Tensor, past: list[Tensor] | None, memory: Memory
    ) -> tuple[Tensor, list[Tensor]]:
        """Log-probabilities of all codes after int64 [N, n] tokens: float [N, n, codes]."""
        states, past = self.decoder(self.of_code(tokens), past, memory)
        logits = states @ self.of_code.weight.T * self.dim**-0.5  # T5's scale of a tied table
        return logits.log_softmax(dim=2), past

    def _begun(self, memory: Memory) -> tuple[Tensor, list[Tensor]]:
        start = len(self.of_code.weight) - 1
        first = torch.full((len(memory.bias), 1), start, device=memory.bias.device)
        return self._step(first, None, memory)

    def of_items(self, queries: Tensor, items: Tensor) -> Tensor:
        """Scores of each query's own items, int64 [M, n]: float [M, n]."""
        made = queries.new_zeros(items.shape)
        for rows, _ in by_length(queries[:, 0].long() + items.shape[1]):
            memory = self._memory(queries[rows])
            codes = self.codes[items[rows]]  # [N, n, m]
            said, past = self._begun(memory)
            said = said.expand(-1, items.shape[1], -1)
            past = [of.expand(-1, -1, items.shape[1], -1, -1, -1) for of in past]
            total = said.gather(2, codes[..., :1])[..., 0]
            for before, code in pairwise(codes.unbind(2)):
                said, past = self._step(before, past, memory)
                total = total + said.gather(2, code[..., None])[..., 0]
            made[rows] = total.to(made)
        return made

    def _all(self, memory: Memory) -> Tensor:
        """Scores of all leaves, float [N, C], some subtrees at a time."""
        trie = self.trie
        size = len(memory.bias)
        first, root = self._begun(memory)
        made = first.new_empty(size, len(trie.items))
        for start, stop in trie.parts(max(1, BYTES // (self.node_bytes * size))):
            nodes = torch.arange(start, stop, device=first.device)
            score = first[:, 0, trie.tokens[1][nodes]]
            past = [of.expand(-1, -1, len(nodes), -1, -1, -1) for of in root]
            for level in range(1, trie.levels):
                said, past = self._step(trie.tokens[level][nodes].expand(size, -1), past, memory)
                bounds = trie.starts[level]
                below = torch.arange(int(bounds[start]), int(bounds[stop]), device=first.device)
                up = trie.parents[level + 1][below] - start
                score = score[:, up] + said[:, up, trie.tokens[level + 1][below]]
                start, stop, nodes = int(bounds[start]), int(bounds[stop]), below
                if level < trie.levels - 1:
                    past = [of[:, :, up] for of in past]
            made[:, nodes] = score
        return made


def by_length(lengths: Tensor) -> Iterator[tuple[Tensor, int]]:
    """Rows of about one length, int64 [n], that fit into the memory at once; and the longest's."""
    order = lengths.argsort(descending=True, stable=True)
    known, start = lengths[order].tolist(), 0
    while start < len(known):
        stop = start + max(1, TOKENS // max(1, known[start]))
        yield order[start:stop], known[start]
        start = stop
