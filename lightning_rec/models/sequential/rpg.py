"""RPG: long semantic ids, all digits of which are predicted at once.

Hou et al., Generating Long Semantic IDs in Parallel for Recommendation, KDD 2025, arXiv:2506.05781.
Shapes: as in :class:`CodedModel`; B sequences, L positions, D = dim, M queries.
"""

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.semantic.quantise import Quantizer
from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.layers import gather
from lightning_rec.models.sequential.coded import CodedModel
from lightning_rec.models.sequential.decoder import body
from lightning_rec.ranges import BelowOne, Layers

INIT_STD = 0.02


class RPG(CodedModel):
    """A GPT-2 over items, each the mean of its codes' vectors (section 3.2), with a head a digit.

    A query holds the log-probabilities of all codes, level by level; the score of an item is the
    mean over its digits, so that all items are ranked exactly, by sums, without the decoding graph
    of section 3.3, which approximates that.

    Args:
        quantizer, levels, codes: how semantic ids are made; the paper has 16 to 64 levels of 256.
        unique: add a digit that tells items of the same codes apart; not in the paper.
        inner: width of the feed-forward layers.
        dropout: on the item vectors, with their positions.
        temperature: τ of equation 5, by which cosines of states and codes are divided.
    """

    def __init__(
        self,
        schema: Schema,
        dim: PositiveInt = 64,
        depth: Layers = 2,
        heads: PositiveInt = 2,
        inner: PositiveInt = 256,
        dropout: BelowOne = 0.2,
        attention_dropout: BelowOne = 0.2,
        temperature: PositiveFloat = 0.07,
        quantizer: Quantizer = "opq",
        levels: Layers = 16,
        codes: PositiveInt = 256,
        unique: bool = False,
    ) -> None:
        super().__init__(schema, quantizer, levels, codes, unique)
        if dim % heads:
            raise ValueError(f"heads={heads} must divide dim={dim}")
        self.temperature = temperature
        self.of_code = nn.Embedding(self.levels * self.size, dim)
        self.body = body(
            "gpt2",
            hidden_size=dim,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            n_inner=inner,
            max_position_embeddings=schema.max_len,
            resid_pdrop=0.0,
            embd_pdrop=dropout,
            attn_pdrop=attention_dropout,
            layer_norm_epsilon=1e-12,
        )
        self.head = nn.Parameter(torch.zeros(self.levels, dim, dim))  # at first the identity
        self.head_bias = nn.Parameter(torch.empty(self.levels, 1, dim))
        nn.init.uniform_(self.head_bias, -(dim**-0.5), dim**-0.5)
        nn.init.normal_(self.of_code.weight, std=INIT_STD)

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """Log-probabilities of the codes of each level, float [M, m K]."""
        items = histories.items
        codes = self.codes[items.clamp(max=self.schema.num_items - 1)]
        vectors = F.embedding_bag(codes.flatten(0, 1), self.of_code.weight, mode="mean")
        vectors_BLD = vectors.view(*items.shape, -1)
        hidden_BLD = self.body(inputs_embeds=vectors_BLD, use_cache=False).last_hidden_state
        hidden_MD = gather(hidden_BLD, positions)
        inside = torch.matmul(hidden_MD, self.head.transpose(1, 2)) + self.head_bias  # [m, M, D]
        states = F.normalize(hidden_MD + F.silu(inside), dim=-1)
        table = F.normalize(self.of_code.weight, dim=-1).view(self.levels, self.size, -1)
        logits = torch.matmul(states, table.transpose(1, 2)) / self.temperature  # [m, M, K]
        return logits.log_softmax(dim=-1).transpose(0, 1).flatten(1)

    def scores(self, queries: Tensor, items: Tensor | None = None) -> Tensor:
        """The mean log-probability of an item's digits; see :meth:`SequenceModel.scores`."""
        if items is not None and items.dim() == 2:
            codes = self.codes[items]  # [M, n, m]
            return queries.gather(1, codes.flatten(1)).view_as(codes).mean(dim=2)
        codes = self.codes if items is None else self.codes[items]
        # Of each code the M values lie side by side: sums of rows, no product with zeros.
        return F.embedding_bag(codes, queries.T.contiguous(), mode="mean").T
