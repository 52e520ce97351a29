"""One recurrent network for all items: counts so far, calendar, features and vectors to paths.

The model of Salinas et al. 2020 ("DeepAR", sections 3.1 to 3.3): the next count is negative
binomial with a mean and a shape that a recurrent network gives, whose inputs are scaled by the
mean of the item, and paths are drawn count by count. Its network here is one GRU.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lightning_rec.data.types import Floats
from lightning_rec.demand.paths import DRAWS, Forecast, joined, past_errors
from lightning_rec.demand.series import SEASONS, Demand
from lightning_rec.errors import UserError

LEAST = 1e-4  # of mean and shape
LONGEST = 104  # periods that are looked back on, in training and before a forecast
ROWS = 65_536  # items by paths that are drawn at once


class Recurrent(nn.Module):
    """A GRU over inputs [N, T, 6] and static features [N, F]: mean and shape of each next count."""

    def __init__(self, static: int, dim: int) -> None:
        super().__init__()
        self.known = nn.Linear(static, 8) if static else None
        self.gru = nn.GRU(6 + (8 if static else 0), dim, batch_first=True)
        self.head = nn.Linear(dim, 2)

    def forward(
        self, x_NTC: Tensor, static_NF: Tensor, scale_N: Tensor, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and shape, each [N, T], and the state after the last period."""
        if self.known is not None:
            known = self.known(static_NF)[:, None].expand(-1, x_NTC.shape[1], -1)
            x_NTC = torch.cat([x_NTC, known], dim=2)
        hidden, state = self.gru(x_NTC, state)
        mean, shape = nn.functional.softplus(self.head(hidden)).unbind(2)
        return mean * scale_N[:, None] + LEAST, shape / scale_N[:, None].sqrt() + LEAST, state


def log_likelihood(count: Tensor, mean: Tensor, shape: Tensor) -> Tensor:
    """Of counts under negative binomials of variance ``mean + shape * mean ** 2`` (section 3.1)."""
    size = 1 / shape
    ratio = torch.log1p(shape * mean)
    return (
        torch.lgamma(count + size) - torch.lgamma(size) - torch.lgamma(count + 1)
        - size * ratio + count * (torch.log(shape * mean) - ratio)
    )  # fmt: skip


@dataclass
class Neural:
    """Trains :class:`Recurrent` on all items up to the origin, and draws paths from it.

    Args:
        seed: of weights, batches and draws.
        epochs: passes over all items.
        dim: width of the GRU.
        lr: of Adam, which falls to 0 by a cosine.
        batch_size: items at once.
    """

    seed: int = 1
    epochs: int = 60
    dim: int = 32
    lr: float = 0.01
    batch_size: int = 256
    name: str = "neural"

    def __call__(self, demand: Demand, steps: int) -> Forecast:
        """Train and draw. Raises UserError for quantities that are no whole numbers."""
        if not demand.whole:
            raise UserError("models=[neural] counts: quantities are to be whole numbers for it.")
        generator = torch.Generator().manual_seed(self.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = Recurrent(demand.static.shape[1], self.dim)
        inputs = _Inputs(demand, steps)
        self._train(model, inputs, generator)
        with torch.inference_mode():
            return self._drawn(model, inputs, steps)

    def _train(self, model: Recurrent, data: "_Inputs", generator: torch.Generator) -> None:
        optimizer = torch.optim.Adam(model.parameters(), lr=self.lr)
        per_epoch = -(-len(data.counts) // self.batch_size)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.epochs * per_epoch)
        for _ in range(self.epochs):
            for rows in torch.randperm(len(data.counts), generator=generator).split(
                self.batch_size
            ):
                x_NTC = data.inputs(
                    data.counts[rows, :-1], data.total[:-1], data.age[rows], data.scale[rows]
                )
                mean, shape, _ = model(x_NTC, data.static[rows], data.scale[rows])
                found = log_likelihood(data.counts[rows, 1:], mean, shape)
                mask = data.mask[rows]
                loss = -(found * mask).sum() / mask.sum().clamp(min=1)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()

    def _drawn(self, model: Recurrent, data: "_Inputs", steps: int) -> Forecast:
        """All items of some paths at a time: what comes next depends on the sum of all."""
        generator = np.random.default_rng(self.seed)
        items = len(data.counts)
        known = []
        for rows in torch.arange(items).split(self.batch_size):
            x_NTC = data.inputs(data.counts[rows], data.total, data.age[rows], data.scale[rows])
            mean, shape, state = model(x_NTC, data.static[rows], data.scale[rows])
            known.append((mean, shape, state[0]))
        all_mean, all_shape, last_state = (torch.cat(each) for each in zip(*known, strict=True))
        last_mean, last_shape = all_mean[:, -1:], all_shape[:, -1:]
        expected, paths = np.zeros((items, steps)), []
        for number in map(len, torch.arange(DRAWS).split(max(1, ROWS // items))):
            age, scale = data.age.repeat(number), data.scale.repeat(number)
            static, state = data.static.repeat(number, 1), last_state.repeat(number, 1)[None]
            mean, shape = last_mean.repeat(number, 1), last_shape.repeat(number, 1)
            drawn = []
            for step in range(steps):
                expected[:, step] += mean.double().view(number, items).sum(0).numpy() / DRAWS
                count = draws(mean, shape, generator)
                drawn.append(count.view(number, items))
                total = data.level(drawn[-1].mean(1)).repeat_interleave(items)[:, None]
                begin = data.counts.shape[1] + step
                x_NTC = data.inputs(count, total, age, scale, begin)
                mean, shape, state = model(x_NTC, static, scale, state)
            paths.append(torch.stack(drawn, 2))
        # What came beside what was expected one period before, as a share of its spread.
        mean, shape = all_mean[:, :-1], all_shape[:, :-1]
        off = (data.counts[:, 1:] - mean) / (mean + shape * mean**2).sqrt()
        off = off.masked_fill(data.mask == 0, torch.nan).double()
        errors = past_errors(nn.functional.pad(off, (1, 0), value=torch.nan).numpy(),
                             np.zeros(data.counts.shape), steps)  # fmt: skip
        return Forecast(expected, joined(torch.cat(paths).numpy(), data.first, errors, generator))


def draws(mean: Tensor, shape: Tensor, generator: np.random.Generator) -> Tensor:
    """Negative binomial counts: Poisson ones whose rate is drawn from a gamma distribution."""
    size = 1 / shape.double().numpy()
    rate = generator.gamma(size, mean.double().numpy() / size)
    return torch.from_numpy(generator.poisson(rate).astype(np.float32))


class _Inputs:
    """Tensors of what is known at the origin; the latest ``LONGEST`` periods of it."""

    def __init__(self, demand: Demand, steps: int) -> None:
        periods = demand.counts.shape[1]
        since = max(0, periods - LONGEST)
        self.counts = torch.from_numpy(demand.counts[:, since:].astype(np.float32))
        self.age = torch.from_numpy(since - demand.first).float()  # at the first of these periods
        self.first = first = np.maximum(demand.first - since, 0)
        place = np.arange(since, periods)
        lived = np.maximum(periods - np.maximum(demand.first, since), 1)
        scale: Floats = 1 + demand.counts[:, since:].sum(1) / lived  # section 3.3
        self.scale = torch.from_numpy(scale).float()
        self.mask = torch.from_numpy(place[None, 1:] - since > first[:, None]).float()
        self.usual = self.counts.mean()
        self.total = self.level(self.counts.mean(0))
        spread = demand.static.std(0)
        static = (demand.static - demand.static.mean(0)) / np.where(spread > 0, spread, 1)
        self.static = torch.from_numpy(static.astype(np.float32))
        days = [*demand.starts[since:], *demand.later(steps + 1)]
        season = SEASONS[demand.every]
        turn = [
            each.weekday() / 7 if season == 7 else each.timetuple().tm_yday / 366 for each in days
        ]
        angle = 2 * torch.pi * torch.tensor(turn)
        self.calendar = torch.stack([angle.sin(), angle.cos()], 1)
        if periods < 2 * season:  # else it would only say which period it is
            self.calendar.zero_()

    def level(self, mean: Tensor) -> Tensor:
        """The mean of all items beside what is usual, as an input."""
        return (mean / self.usual.clamp(min=LEAST)).log1p()

    def inputs(
        self, counts: Tensor, total: Tensor, age: Tensor, scale: Tensor, begin: int = 0
    ) -> Tensor:
        """What is known after each period, of the one that comes next: float32 [N, T, 6]."""
        items, periods = counts.shape
        grown = (age[:, None] + begin + torch.arange(periods)).clamp(min=0).log1p() / 5
        calendar = self.calendar[begin + 1 : begin + 1 + periods].expand(items, -1, -1)
        size = scale.log()[:, None].expand(-1, periods)
        own = [(counts / scale[:, None]).log1p(), total.expand(items, periods), grown, size]
        return torch.cat([torch.stack(own, 2), calendar], 2)
