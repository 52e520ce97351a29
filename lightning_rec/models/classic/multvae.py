"""Mult-VAE: a variational autoencoder of histories with a multinomial likelihood.

Liang et al., Variational Autoencoders for Collaborative Filtering, WWW 2018, arXiv:1802.05814, as
in dawenl/vae_cf. Shapes: B histories, L positions, M queries, V = num_items, D = dim.
"""

from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.base import InnerProduct, ItemVectors
from lightning_rec.models.classic.parts import past
from lightning_rec.models.layers import Dropout, distinct
from lightning_rec.ranges import BelowOne, Widths

START = 0.001  # deviation of the biases


class MultVAE(InnerProduct):
    """A history as a set is encoded to a Gaussian, from which the whole catalogue is decoded.

    The set, of length 1 and dropped out, goes through tanh layers of the widths ``hidden`` to mean
    and log-variance, and a draw of them through as many back (section 2.2); a query is the last
    hidden state of the decoder. To the likelihood (``loss=multinomial``) comes β times the
    divergence from N(0, I), where β grows by 1 / ``anneal_steps`` with each batch, from 0 up to
    ``beta`` (section 2.2.2). In evaluation the mean stands for the draw (section 2.3).

    Without ``variational`` it is the paper's Mult-DAE: tanh of what is encoded is decoded, nothing
    is drawn and there is no divergence. The authors have it with ``hidden=[]`` and L2 of the
    weights, here optimizer=adam with ``weight_decay``.

    Args:
        dim: the paper's K, of the latent space.
        hidden: widths of the encoder's layers between items and latent space; the decoder has them
            in the other order.
        dropout: of the items of a history.
        beta: the largest β.
        anneal_steps: batches until β would be 1; 0 begins with ``beta``.
        variational: False for Mult-DAE.
    """

    objectives = ("reconstruction",)
    needs_order = False
    kept: Tensor  # int64 scalar, batches so far; what Task keeps of a training that is resumed

    def __init__(
        self,
        schema: Schema,
        dim: PositiveInt = 200,
        hidden: Annotated[Widths, Field(max_length=100)] = (600,),
        dropout: BelowOne = 0.5,
        beta: NonNegativeFloat = 0.2,
        anneal_steps: NonNegativeInt = 5000,
        variational: bool = True,
    ) -> None:
        super().__init__(schema)
        self.beta, self.anneal_steps, self.variational = beta, anneal_steps, variational
        down = (*hidden, 2 * dim if variational else dim)
        up = (dim, *reversed(hidden))
        items = schema.num_items
        self.item = nn.EmbeddingBag(items + 1, down[0], mode="sum", padding_idx=items)
        self.bias = nn.Parameter(torch.empty(down[0]))
        self.dropout = Dropout(dropout)
        self.encoder = nn.ModuleList(nn.Linear(*widths) for widths in pairwise(down))
        self.decoder = nn.ModuleList(nn.Linear(*widths) for widths in pairwise(up))
        self.output = nn.Linear(up[-1], items)
        self.register_buffer("kept", torch.zeros((), dtype=torch.int64), persistent=False)
        self._divergence: list[Tensor] = []  # of the histories of this step, float [B] in parts
        self._initialise()

    def _initialise(self) -> None:
        nn.init.xavier_uniform_(self.item.weight.data[:-1])
        biases = [self.bias]
        for layer in (*self.encoder, *self.decoder, self.output):
            nn.init.xavier_uniform_(layer.weight)
            biases.append(layer.bias)
        for bias in biases:
            nn.init.trunc_normal_(bias, std=START, a=-2 * START, b=2 * START)

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """The decoder's last hidden states: float [M, hidden[0]], or [M, D] where none is hidden.

        In training they are of a draw, and the divergences are noted for :meth:`penalty`.
        """
        padding = self.schema.padding
        items, mask, _ = past(histories, positions, padding)
        items = distinct(items.where(mask, padding), padding)  # [M, L]
        there = items != padding
        share = there / there.sum(dim=1, keepdim=True).clamp(min=1).sqrt()
        hidden = self.item(items, per_sample_weights=self.dropout(share).to(self.bias)) + self.bias
        for layer in self.encoder:
            hidden = layer(hidden.tanh())
        hidden = self._latent(hidden)
        for layer in self.decoder:
            hidden = layer(hidden).tanh()
        return hidden

    def vectors(self, items: Tensor | None = None) -> ItemVectors:
        """The rows of the output layer and its biases."""
        weight, bias = self.output.weight, self.output.bias
        return ItemVectors(*(each if items is None else each[items] for each in (weight, bias)))

    def penalty(self, queries: Tensor, targets: Tensor) -> Tensor | float:
        """β times the divergence of this step, scalar; see :class:`Penalised`."""
        parts, self._divergence = self._divergence, []
        if not parts:
            return 0.0
        beta: Tensor | float = self.beta
        if self.anneal_steps:
            beta = (self.kept / self.anneal_steps).clamp(max=self.beta)
        self.kept += 1
        return beta * torch.cat(parts).mean()

    def go_on(self) -> None:
        """β is the largest from the first batch on."""
        self.kept.fill_(self.anneal_steps)

    def _latent(self, encoded: Tensor) -> Tensor:
        """What is decoded, float [M, D], of the encoder's output, float [M, 2 D] or [M, D]."""
        if not self.variational:
            return encoded.tanh()
        mean, log_variance = encoded.chunk(2, dim=1)
        if not self.training:
            return mean
        divergence = (log_variance.exp() + mean.square() - 1 - log_variance).sum(dim=1) / 2
        self._divergence.append(divergence)
        return mean + torch.randn_like(mean) * (log_variance / 2).exp()
