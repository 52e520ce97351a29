"""The ranks of AdaLoRA: they shrink as peft has it, to the budget, and a resumed training goes on."""

import copy
import io
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters.tiny_modules import MODULES, adapter, loss_of, tuned
from torch import Tensor, nn

from lightning_rec.adapters.adalora import ranks_of
from lightning_rec.adapters.base import AdaptedModule
from lightning_rec.errors import UserError

peft = pytest.importorskip("peft")
CausalLMOutput = pytest.importorskip("transformers.modeling_outputs").CausalLMOutput
STEPS = 40
SETTINGS: dict[str, Any] = {
    "init_rank": 6,
    "rank": 2,
    "warmup": 0.2,
    "cooldown": 0.25,
    "interval": 3,
}


def made(module: str = "bert4rec", total: int = STEPS, **settings: Any) -> AdaptedModule:
    it = tuned("adalora", module, **SETTINGS | settings)
    it.begin(total)
    return it


def optimizer_of(it: AdaptedModule) -> torch.optim.Optimizer:
    return torch.optim.AdamW([p for p in it.module.parameters() if p.requires_grad], lr=0.01)


def train(it: AdaptedModule, optimizer: torch.optim.Optimizer, steps: range) -> list[int]:
    """Steps of a training as the task makes them; all ranks after each of them."""
    left = []
    for step in steps:
        optimizer.zero_grad()
        (loss_of(it.module) + it.hook.penalty()).backward()
        optimizer.step()
        it.hook.after_step(step)
        left.append(sum(ranks_of(it.module).values()))
    return left


@pytest.mark.parametrize("module", list(MODULES))
def test_ranks_shrink_to_the_budget_and_stay(module: str, caplog: pytest.LogCaptureFixture) -> None:
    it = made(module)
    targets = len(ranks_of(it.module))
    left = train(it, optimizer_of(it), range(1, STEPS + 1))
    # Steps 1 to 8 are before the cuts, 30 is the last of them.
    assert left[:8] == [6 * targets] * 8
    cuts = [left[step - 1] for step in (9, 12, 15, 18, 21, 24, 27, 30)]
    assert cuts == sorted(cuts, reverse=True)
    assert cuts[0] < 6 * targets
    assert len(set(cuts)) > 4
    assert left[29:] == [2 * targets] * 11
    ranks = ranks_of(it.module)
    assert len(set(ranks.values())) > 1  # by importance, not to each the same
    with caplog.at_level("INFO", "lightning_rec"):
        it.conclude()
    assert f"{2 * targets} of {6 * targets} are left" in caplog.text
    assert all(f"{name} {rank}" in caplog.text for name, rank in ranks.items())


class WithLoss(nn.Module):
    """What peft wants of a module: that its result holds the loss."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.inner = module

    def forward(self) -> Any:
        return CausalLMOutput(loss=loss_of(self.inner))


def test_it_is_what_pefts_own_model_does() -> None:
    torch.manual_seed(0)
    theirs = WithLoss(MODULES["bert4rec"]().eval())
    ours = AdaptedModule(copy.deepcopy(theirs), adapter("adalora", **SETTINGS, targets=["query", "value"], orthogonality=0.3))  # fmt: skip
    settings = peft.AdaLoraConfig(
        init_r=6, target_r=2, lora_alpha=16.0, tinit=8, tfinal=10, deltaT=3, orth_reg_weight=0.3,
        total_step=STEPS, target_modules=["query", "value"],
    )  # fmt: skip
    model = peft.AdaLoraModel(theirs, settings, "default")
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            parameter.copy_(ours.module.get_parameter(name))
    theirs_optimizer = torch.optim.AdamW(
        (p for p in theirs.parameters() if p.requires_grad), lr=0.01
    )
    ours_optimizer = optimizer_of(ours)
    ours.begin(STEPS)
    for step in range(1, STEPS + 1):
        theirs_optimizer.zero_grad()
        model().loss.backward()
        theirs_optimizer.step()
        model.update_and_allocate(step)
        ours_optimizer.zero_grad()
        (ours.module().loss + ours.hook.penalty()).backward()
        ours_optimizer.step()
        ours.hook.after_step(step)
    assert sum(ranks_of(theirs).values()) == 2 * 4
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(ours.module.get_parameter(name), parameter, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("broken", [5, 13, 30, 36])
def test_a_resumed_training_equals_an_unbroken_one(broken: int, tmp_path: Path) -> None:
    whole = made()
    train(whole, optimizer_of(whole), range(1, STEPS + 1))
    first = made()
    optimizer = optimizer_of(first)
    train(first, optimizer, range(1, broken + 1))
    file = io.BytesIO()
    torch.save([optimizer.state_dict(), first.hook.state_dict()], file)
    first.save(tmp_path / "adapter.safetensors")
    file.seek(0)
    state, course = torch.load(file, weights_only=True)
    weights: list[dict[str, Tensor]] = []
    for remembers in (True, False):
        second = made()
        second.load(tmp_path / "adapter.safetensors")
        further = optimizer_of(second)
        further.load_state_dict(copy.deepcopy(state))
        if remembers:
            second.hook.load_state_dict(copy.deepcopy(course))
        try:
            train(second, further, range(broken + 1, STEPS + 1))
        except KeyError:  # of what is not remembered
            assert not remembers
        weights.append(second.weights)
    for name, weight in whole.weights.items():
        assert torch.equal(weights[0][name], weight)
    if broken > 5:  # what was learnt long before the first cut fades
        assert any(not torch.equal(weights[1][name], each) for name, each in whole.weights.items())


def test_the_penalty_is_the_mean_distance_from_the_orthogonal() -> None:
    it = made(orthogonality=0.7)
    wanted = []
    for name, weight in it.weights.items():
        if ".lora_E" not in name:
            gram = weight @ weight.T if ".lora_A" in name else weight.T @ weight
            wanted.append(float((gram - torch.eye(6)).square().sum().sqrt()))
    cost = torch.as_tensor(it.hook.penalty())
    assert float(cost.detach()) == pytest.approx(0.7 * sum(wanted) / len(wanted), rel=1e-5)
    assert len(wanted) == 8
    cost.backward()
    assert all(p.grad is not None for n, p in it.module.named_parameters() if ".lora_A" in n)
    assert made(orthogonality=0.0).hook.penalty() == 0.0


@pytest.mark.parametrize("total", [1, 2, 3, 4])
def test_the_shortest_trainings_go_through(total: int) -> None:
    it = made(total=total)
    left = train(it, optimizer_of(it), range(1, total + 1))
    assert left[-1] == (24 if total == 1 else 8)


def test_a_batch_that_does_not_come_by_is_borne() -> None:
    it = made()
    optimizer = optimizer_of(it)
    train(it, optimizer, range(1, 8))
    optimizer.zero_grad()
    it.hook.after_step(8)
    train(it, optimizer, range(9, STEPS + 1))
    assert sum(ranks_of(it.module).values()) == 8


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rank": 6, "init_rank": 6}, r"adapter\.rank=6 must be below init_rank=6"),
        ({"warmup": 0.5, "cooldown": 0.5}, r"adapter\.warmup=0\.5 and cooldown=0\.5 leave no steps"),
        ({"interval": 0}, r"adapter\.interval=0"),
        ({"warmup": 1.0}, r"adapter\.warmup=1\.0"),
    ],
)  # fmt: skip
def test_ranks_that_could_not_shrink_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        adapter("adalora", **settings)
