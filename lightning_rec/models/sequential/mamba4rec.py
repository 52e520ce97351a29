"""Mamba4Rec: Towards Efficient Sequential Recommendation with Selective State Space Models.

Liu, Lin, Wang, Liu and Caverlee, 2024, arXiv:2403.03900, as in chengkai-liu/Mamba4Rec; its block is
that of Gu and Dao, Mamba: Linear-Time Sequence Modeling with Selective State Spaces, 2023,
arXiv:2312.00752, as in state-spaces/mamba. Shapes: as in :class:`NeuralSequenceModel`, E = expand
times D channels, N states of each channel.
"""

import math
from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.items.ids import Ids, Items
from lightning_rec.models.layers import Dropout, gather
from lightning_rec.models.sequential.base import NORMAL, NeuralSequenceModel
from lightning_rec.ranges import BelowOne, Layers

EPSILON = 1e-12  # of all norms in the authors' code
SHORTEST, LONGEST = 0.001, 0.1  # steps that channels start with: Mamba's dt_min and dt_max
CELLS = {"cpu": 2**18}  # states of a block of rows, so that a CPU keeps them in its cache
CELLS_ELSEWHERE = 2**27


class Mamba4Rec(NeuralSequenceModel):
    """Layers of a Mamba block and a feed-forward layer; positions have no vectors.

    A single layer has no residual around its block, several have. The authors' code draws all
    linear maps anew after Mamba has chosen its initial steps, and thereby sets all steps to 0.69,
    at which even the slowest state halves at each position; here they stay as Mamba has them.

    Args:
        states: N, the paper's d_state.
        kernel: width of the convolution, the paper's d_conv.
        expand: E as a multiple of ``dim``.
    """

    def __init__(
        self,
        schema: Schema,
        dim: PositiveInt = 64,
        depth: Layers = 1,
        states: PositiveInt = 32,
        kernel: PositiveInt = 4,
        expand: PositiveInt = 2,
        feedforward: PositiveInt = 4,
        dropout: BelowOne = 0.2,
        items: Items = Ids,
    ) -> None:
        super().__init__(schema, dim, items)
        self.norm = nn.LayerNorm(dim, eps=EPSILON)
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(
            Layer(Mamba(dim, states, kernel, expand * dim), dim, dim * feedforward, dropout)
            for _ in range(depth)
        )
        self.initialise(NORMAL)
        for module in self.modules():
            if isinstance(module, Mamba):
                module.draw_steps()

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """Queries float [M, D]."""
        hidden_BLD = self.norm(self.dropout(self.embedded(histories)))
        residual = len(self.layers) > 1
        for layer in self.layers[:-1]:
            hidden_BLD = layer(hidden_BLD, residual)
        return self.layers[-1](hidden_BLD, residual, positions)


class Layer(nn.Module):
    """A Mamba block, then feed-forward, each with dropout and LayerNorm (section 3.3)."""

    def __init__(self, mamba: "Mamba", dim: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.mamba = mamba
        self.mamba_norm = nn.LayerNorm(dim, eps=EPSILON)
        self.expand, self.contract = nn.Linear(dim, inner), nn.Linear(inner, dim)
        self.norm = nn.LayerNorm(dim, eps=EPSILON)
        self.dropout = Dropout(dropout)

    def forward(
        self, hidden_BLD: Tensor, residual: bool, positions: Tensor | None = None
    ) -> Tensor:
        """Float [B, L, D] -> the same; or, gathered at positions, float [M, D]."""
        mixed = self.dropout(self.mamba(hidden_BLD, positions))
        if residual:
            mixed = mixed + (hidden_BLD if positions is None else gather(hidden_BLD, positions))
        hidden = self.mamba_norm(mixed)
        inner = self.contract(self.dropout(F.gelu(self.expand(hidden))))
        return self.norm(self.dropout(inner) + hidden)


class Mamba(nn.Module):
    """Convolution and selective state space model, gated (Gu and Dao, 2023, figure 3)."""

    def __init__(self, dim: int, states: int, kernel: int, channels: int) -> None:
        super().__init__()
        rank = math.ceil(dim / 16)  # of the steps
        self.sizes, self.kernel = (rank, states, states), kernel
        self.read = nn.Linear(dim, 2 * channels, bias=False)
        self.convolve = nn.Conv1d(channels, channels, kernel, groups=channels)
        self.select = nn.Linear(channels, sum(self.sizes), bias=False)
        self.step = nn.Linear(rank, channels)
        rates = torch.arange(1, states + 1, dtype=torch.float32).log()  # S4D's real ones
        self.log_rates = nn.Parameter(rates[:, None].repeat(1, channels))  # -A, [N, E]
        self.skip = nn.Parameter(torch.ones(channels))
        self.write = nn.Linear(channels, dim, bias=False)

    @torch.no_grad()
    def draw_steps(self) -> None:
        """Draw biases so that steps begin log-uniform between SHORTEST and LONGEST."""
        step = nn.init.uniform_(self.step.bias, math.log(SHORTEST), math.log(LONGEST)).exp()
        self.step.bias.copy_(step + torch.log(-torch.expm1(-step)))  # the inverse of softplus

    def forward(self, hidden_BLD: Tensor, positions: Tensor | None = None) -> Tensor:
        """Float [B, L, D] -> the same; or, gathered at positions, float [M, D]."""
        x, gate = self.read(hidden_BLD).chunk(2, dim=2)
        x = F.silu(self.convolve(F.pad(x.mT, (self.kernel - 1, 0))).mT)
        delta, B, C = self.select(x).split(self.sizes, dim=2)
        with torch.autocast(x.device.type, enabled=False):  # steps and states want 32 bits
            x, delta, B, C = (each.to(self.skip.dtype) for each in (x, delta, B, C))
            delta = F.softplus(self.step(delta))
            scanned = selective_scan(x, delta, -self.log_rates.exp(), B, C) + self.skip * x
        if positions is not None:
            scanned, gate = gather(scanned, positions), gather(gate, positions)
        return self.write(scanned * F.silu(gate))


def selective_scan(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """y[t] = C[t] h[t], where h[t] = exp(delta[t] A) h[t - 1] + delta[t] B[t] x[t] and h[-1] = 0.

    Of Gu and Dao, 2023, equation 2 and algorithm 2. One position follows the other, for a few rows
    at a time, whose states a CPU keeps in its cache; they are computed anew for the gradient, so
    that nothing of size B L E N is kept. No cumulative product is divided by, so nothing overflows.

    ``x``, ``delta``: float [B, L, E], steps above 0; ``A``: float [N, E], below 0; ``B``, ``C``:
    float [B, L, N]. Returns float [B, L, E].
    """
    y: Tensor = _Scan.apply(x, delta, A, B, C)  # type: ignore[no-untyped-call]
    return y


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        ctx.save_for_backward(x, delta, A, B, C)
        y, rows = torch.empty_like(delta), _rows(x, A)
        decay, h = x.new_empty(2, rows, x.shape[1], *A.shape)
        for x_, delta_, B_, C_, y_ in _blocks(rows, x, delta, B, C, y):
            some = slice(len(x_))
            _states(x_, delta_, A, B_, decay[some], h[some])
            y_.copy_(torch.linalg.vecdot(C_[..., None], h[some], dim=2))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, ...]:
        x, delta, A, B, C = ctx.saved_tensors
        dx, ddelta, dA, dB, dC = (torch.zeros_like(each) for each in ctx.saved_tensors)
        rows = _rows(x, A)
        buffers = x.new_empty(3, rows, x.shape[1], *A.shape)
        given, wanted = (x, delta, B, C, dy), (dx, ddelta, dB, dC)
        for x_, delta_, B_, C_, dy_, dx_, ddelta_, dB_, dC_ in _blocks(rows, *given, *wanted):
            decay, h, dh = buffers[:, : len(x_)]
            _states(x_, delta_, A, B_, decay, h)
            dC_.copy_(torch.linalg.vecdot(h, dy_[..., None, :]))
            torch.mul(C_[..., None], dy_[..., None, :], out=dh)
            dhs, decays = dh.unbind(1), decay.unbind(1)
            for t in reversed(range(len(dhs) - 1)):
                dhs[t].addcmul_(decays[t + 1], dhs[t + 1])
            dB_.copy_(torch.linalg.vecdot(dh, (delta_ * x_)[..., None, :]))
            dinput = torch.linalg.vecdot(B_[..., None], dh, dim=2)  # of delta[t] x[t]
            torch.mul(dinput, delta_, out=dx_)
            torch.mul(dinput, x_, out=ddelta_)
            # Of the exponents delta[t] A, but for the first position, before which no state is.
            dexponent = decay[:, 1:].mul_(dh[:, 1:]).mul_(h[:, :-1])
            dA += torch.mul(dexponent, delta_[:, 1:, None], out=dh[:, 1:]).sum((0, 1))
            ddelta_[:, 1:] += dexponent.mul_(A).sum(2)
        return dx, ddelta, dA, dB, dC


def _states(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, decay: Tensor, h: Tensor) -> None:
    """Write exp(delta[t] A) and h[t] into float [B, L, N, E] each."""
    torch.mul(delta[..., None, :], A, out=decay).exp_()
    torch.mul(B[..., None], (delta * x)[..., None, :], out=h)
    hs, decays = h.unbind(1), decay.unbind(1)
    for t in range(1, len(hs)):
        hs[t].addcmul_(decays[t], hs[t - 1])


def _rows(x: Tensor, A: Tensor) -> int:
    """How many rows to scan at once."""
    cells = CELLS.get(x.device.type, CELLS_ELSEWHERE)
    return min(len(x), max(1, cells // max(1, x.shape[1] * A.numel())))


def _blocks(rows: int, *tensors: Tensor) -> Any:
    """The tensors cut alike into blocks of rows."""
    return zip(*(each.split(rows) for each in tensors), strict=True) if rows else ()
