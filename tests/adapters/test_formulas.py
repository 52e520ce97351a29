"""What each adapter computes, against the formula of its paper written out."""

import math

import pytest
import torch
from adapters.tiny_modules import adapter, tuned
from torch import Tensor, nn

from lightning_rec.adapters.base import AdaptedModule

pytest.importorskip("peft")
X = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))


def over(
    linear: nn.Linear, name: str, **settings: object
) -> tuple[AdaptedModule, dict[str, Tensor]]:
    """A linear map under an adapter whose weights are drawn by chance, and these by their ends."""
    torch.manual_seed(0)
    made = AdaptedModule(nn.ModuleDict({"it": linear}), adapter(name, **settings))
    for weight in made.weights.values():
        nn.init.normal_(weight)
    return made, {each.removeprefix("it."): weight for each, weight in made.weights.items()}


def test_lora_adds_b_a_x_by_alpha_over_r() -> None:
    linear = nn.Linear(5, 4)
    wanted = linear(X)
    made, w = over(linear, "lora", targets=["it"], rank=2, alpha=6.0)
    a, b = w["lora_A.default.weight"], w["lora_B.default.weight"]
    assert a.shape == (2, 5)
    torch.testing.assert_close(made.module["it"](X), wanted + 3 * X @ a.T @ b.T)


def test_adalora_adds_b_e_a_x_by_alpha_over_the_first_rank() -> None:
    linear = nn.Linear(5, 4)
    wanted = linear(X)
    made, w = over(linear, "adalora", targets=["it"], init_rank=3, rank=2, alpha=6.0)
    a, b, e = (w[f"lora_{part}.default"] for part in "ABE")
    assert a.shape == (3, 5)
    change = X @ a.T * e.T @ b.T
    torch.testing.assert_close(made.module["it"](X), wanted + 2 * change, atol=1e-4, rtol=1e-4)


def test_ia3_scales_what_is_given_or_read() -> None:
    linear = nn.Linear(5, 4)
    plain = linear(X)
    made, w = over(linear, "ia3", targets=["it"], feedforward=[])
    torch.testing.assert_close(made.module["it"](X), plain * w["ia3_l.default"][:, 0])
    linear = nn.Linear(5, 4)
    made, w = over(linear, "ia3", targets=[], feedforward=["it"])
    torch.testing.assert_close(made.module["it"](X), linear(X * w["ia3_l.default"][0]))


def test_a_bottleneck_is_after_its_target_and_near_the_identity_at_first() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(5, 4)
    hidden = linear(X)
    made = AdaptedModule(
        nn.ModuleDict({"it": linear}), adapter("bottleneck", width=2, targets=["it"])
    )
    change = (made.module["it"](X) - hidden).abs().max()
    assert 0 < change < 1e-3
    made, w = over(nn.Linear(5, 4), "bottleneck", width=2, targets=["it"])
    hidden = made.module["it"].base(X)
    inner = nn.functional.gelu(hidden @ w["down.weight"].T + w["down.bias"])
    wanted = hidden + inner @ w["up.weight"].T + w["up.bias"]
    torch.testing.assert_close(made.module["it"](X), wanted)


@pytest.mark.parametrize("name", ["lora", "adalora", "ia3"])
def test_at_first_nothing_is_changed(name: str) -> None:
    made = tuned(name, "bert")
    base = tuned("frozen", "bert")
    items = torch.arange(6).view(2, 3)
    torch.testing.assert_close(made.module(items), base.module(items))


@pytest.mark.parametrize("name", ["lora", "adalora"])
def test_dropout_is_on_what_is_read_while_training(name: str) -> None:
    linear = nn.Linear(5, 4)
    plain = linear(X)
    made, _ = over(linear, name, targets=["it"], dropout=0.5)
    made.module.eval()
    change = made.module["it"](X) - plain
    assert torch.equal(made.module["it"](X) - plain, change)
    made.module.train()
    draws = torch.stack([made.module["it"](X) - plain for _ in range(2000)])
    spread = draws.std(dim=0) / math.sqrt(len(draws))
    assert ((draws.mean(dim=0) - change).abs() < 5 * spread + 1e-3).all()
    assert (spread > 0).all()
