"""What every adapter keeps to on any module, ours or a hub's. Adapters are found by their YAML."""

import copy
import inspect
import sys
from pathlib import Path

import pytest
import torch
from adapters.tiny_modules import ITEMS, MODULES, adapter, layers_of, loss_of, stepped, tuned
from shipped import said
from torch import nn

from lightning_rec import config
from lightning_rec.adapters.base import PATIENCE, AdaptedModule, Adapter, AdapterError
from lightning_rec.errors import UserError

peft = pytest.importorskip("peft")
ADAPTERS = config.choices("adapter")
BY_PEFT = ["adalora", "ia3", "lora", "prefix", "prompt"]
OURS, VIRTUAL = {"bert4rec", "sasrec"}, {"prefix", "prompt"} & set(ADAPTERS)
IMPOSSIBLE = [(name, module) for name in sorted(VIRTUAL) for module in sorted(OURS)]
PAIRS = [(n, m) for n in ADAPTERS for m in MODULES if (n, m) not in IMPOSSIBLE]
EVERY = pytest.mark.parametrize("name", ADAPTERS)
EVERYWHERE = pytest.mark.parametrize(("name", "module"), PAIRS)


@EVERYWHERE
def test_what_is_tuned_moves_and_the_base_stays_to_the_last_bit(name: str, module: str) -> None:
    torch.manual_seed(0)
    base = {n: p.detach().clone() for n, p in MODULES[module]().named_parameters()}
    made = tuned(name, module)
    before, moving = made.module(ITEMS), {n: w.clone() for n, w in made.weights.items()}
    if not moving:
        assert name == "frozen"
        assert not any(p.requires_grad for p in made.module.parameters())
        return
    stepped(made)
    made.check()
    assert not torch.allclose(made.module(ITEMS), before, atol=1e-4)
    # Rows and biases that no item here reads may stay; most of what is tuned must not.
    moved = [n for n, value in made.weights.items() if not torch.equal(value, moving[n])]
    assert len(moved) > 0.6 * len(moving)
    assert made.frozen.keys() == base.keys() - made.names
    assert all(torch.equal(weight, base[n]) for n, weight in made.frozen.items())
    there = {id(parameter) for parameter in made.module.parameters()}
    assert {id(weight) for weight in made.frozen.values()} <= there


@pytest.mark.parametrize(("name", "module"), IMPOSSIBLE)
def test_what_cannot_be_names_what_can(name: str, module: str) -> None:
    with pytest.raises(
        UserError, match=rf"adapter={name} .* holds none\. adapter=lora, .* do work"
    ):
        tuned(name, module)


@EVERYWHERE
def test_a_frozen_weight_that_moves_is_found(name: str, module: str) -> None:
    made = tuned(name, module)
    if name == "full":
        assert not made.frozen
        return
    weight = list(made.frozen.values())[-1]
    with torch.no_grad():
        weight.view(-1)[0] += 1e-6
    with pytest.raises(AdapterError, match="frozen weights moved"):
        made.check()


@EVERYWHERE
def test_what_is_saved_loads_back_equal(name: str, module: str, tmp_path: Path) -> None:
    made = tuned(name, module)
    if name != "frozen":
        stepped(made)
    made.save(tmp_path / "adapter.safetensors")
    again = tuned(name, module)
    again.load(tmp_path / "adapter.safetensors")
    assert torch.equal(again.module(ITEMS), made.module(ITEMS))
    if name != "full":
        with pytest.raises(UserError, match="on another base model"):
            tuned(name, module, seed=1).load(tmp_path / "adapter.safetensors")


@pytest.mark.parametrize("name", [name for name in ADAPTERS if type(adapter(name)).merge is not Adapter.merge])  # fmt: skip
@pytest.mark.parametrize("module", list(MODULES))
def test_what_merges_merges_equal_and_leaves_nothing(
    name: str, module: str, recwarn: pytest.WarningsRecorder
) -> None:
    torch.manual_seed(0)
    names = {n for n, _ in MODULES[module]().named_modules()}
    made = tuned(name, module)
    stepped(made)
    wanted = made.module(ITEMS)
    made.merge()
    torch.testing.assert_close(made.module(ITEMS), wanted, atol=1e-5, rtol=1e-5)
    assert {n for n, _ in made.module.named_modules()} == names
    recwarn.clear()
    again = AdaptedModule(made.module, adapter(name))  # it can be tuned anew
    stepped(again)
    again.check()
    assert not [w for w in recwarn if "peft_config" in str(w.message)]


def test_what_does_not_merge_says_so() -> None:
    with pytest.raises(UserError, match="Bottleneck leaves nothing that could be merged"):
        tuned("bottleneck", "sasrec").merge()


@EVERYWHERE
def test_the_parts_add_up_and_are_logged(
    name: str, module: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = tuned(name, module)
    parameters, moving = map(sum, zip(*made.parts().values(), strict=True))
    assert moving == sum(w.numel() for w in made.weights.values())
    everything = sum(p.numel() for p in made.module.parameters())
    assert parameters == everything
    share = moving / everything
    assert share == {"full": 1, "frozen": 0}.get(name, share)
    assert name in ("full", "frozen") or 0 < share < 1
    assert made.partial == (name not in ("full", "frozen"))
    with caplog.at_level("INFO", "lightning_rec"):
        made.report()
    assert f"{moving:,}" in caplog.text


@EVERYWHERE
def test_a_module_takes_no_second_adapter(name: str, module: str) -> None:
    made = tuned(name, module)
    under = rf"is under {type(made.adapter).__name__} already"
    for second in (name, "bottleneck"):
        with pytest.raises(UserError, match=under):
            AdaptedModule(made.module, adapter(second))
    with pytest.raises(UserError, match=under):
        AdaptedModule(nn.Sequential(made.module), adapter("full"))
    with pytest.raises(UserError, match=under):
        AdaptedModule(layers_of(made.module), adapter("full"))
    with pytest.raises(UserError, match=under):
        AdaptedModule(copy.deepcopy(made.module), adapter("full"))


def test_what_peft_put_into_a_module_is_seen_too() -> None:
    module = MODULES["bert"]()
    peft.inject_adapter_in_model(peft.LoraConfig(target_modules=["query"]), module)
    with pytest.raises(UserError, match="Hub is under lora already"):
        AdaptedModule(module, adapter("lora"))


@EVERYWHERE
def test_below_what_is_tuned_nothing_changes(name: str, module: str) -> None:
    settings = {"top": 1} if "top" in inspect.signature(type(adapter(name))).parameters else {}
    made = tuned(name, module, **settings)
    layers = layers_of(made.module)
    lowest, seen = made.lowest_tuned(layers), []
    if name == "frozen":
        assert lowest == len(layers)
        return
    assert lowest == (len(layers) - 1 if settings or name == "top_layers" else 0)
    layers[lowest].register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().clone()))
    before = made.module(ITEMS)
    stepped(made)
    assert not torch.allclose(made.module(ITEMS), before, atol=1e-4)
    assert lowest == 0 or torch.equal(seen[0], seen[-1])


@EVERY
def test_its_yaml_holds_every_keyword_with_its_default(name: str) -> None:
    settings = said("adapter", name)
    kind = config.target("adapter", settings)
    keywords = {} if kind.__init__ is object.__init__ else inspect.signature(kind).parameters
    given = {
        k: tuple(v) if isinstance(v, list) else v for k, v in settings.items() if k != "_target_"
    }
    assert given == {key: parameter.default for key, parameter in keywords.items()}


@EVERY
def test_without_peft_what_needs_it_is_refused_and_nothing_else(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    if name in BY_PEFT:
        with pytest.raises(UserError, match=rf"={name} needs peft.*lightning-rec\[hub\]"):
            adapter(name)
    else:
        adapter(name)


@EVERY
def test_outside_of_a_training_nothing_goes_on_beside_it(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = tuned(name, "bert")
    assert made.hook.penalty() == 0.0
    assert made.hook.state_dict() == {}
    made.conclude()
    assert ("makes of its input what it made before" in caplog.text) == (name != "frozen")
    caplog.clear()
    if name != "frozen":
        stepped(made)
        made.conclude()
        assert "made before" not in caplog.text


@EVERYWHERE
@pytest.mark.parametrize("rate", [0.05, 1e-30])
def test_a_training_without_effect_is_told(
    name: str, module: str, rate: float, caplog: pytest.LogCaptureFixture
) -> None:
    if name == "frozen":
        return
    made = tuned(name, module)
    made.begin(total_steps=PATIENCE)
    rest = [weight for n, weight in made.module.named_parameters() if n not in made.names]
    optimizer = torch.optim.SGD(list(made.module.parameters()), lr=rate)
    modes = [each.training for each in made.module.train().modules()]
    for step in range(1, PATIENCE + 1):
        optimizer.zero_grad()
        loss_of(made.module).backward()
        optimizer.step()
        made.after_step(step)
    assert [each.training for each in made.module.modules()] == modes
    assert ("after the first 32 steps" in caplog.text) == (rate < 1e-9)
    caplog.clear()
    made.conclude()
    assert ("after the training" in caplog.text) == (rate < 1e-9)
    assert not any(weight.requires_grad for weight in rest)


def test_nothing_is_said_of_a_module_whose_input_was_not_seen(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = tuned("lora", "sasrec")
    made.begin(total_steps=PATIENCE)
    with torch.no_grad():
        for weight in made.weights.values():
            weight.add_(0.1)
    for step in range(1, PATIENCE + 1):
        made.after_step(step)
    made.conclude()
    assert "made before" not in caplog.text
    assert not made.module._forward_hooks


def test_another_adapters_file_and_a_broken_one_are_told(tmp_path: Path) -> None:
    path = tmp_path / "adapter.safetensors"
    tuned("lora", "sasrec").save(path)
    for other in (tuned("lora", "sasrec", rank=4), tuned("bottleneck", "sasrec")):
        assert other.base_hash == tuned("lora", "sasrec").base_hash
        with pytest.raises(UserError, match="another adapter"):
            other.load(path)
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be read"):
        tuned("lora", "sasrec").load(path)


def test_an_adapter_that_tunes_something_else_than_it_says_is_found() -> None:
    class Sloppy(Adapter):
        def attach(self, module: nn.Module) -> set[str]:
            return {"model.item.weight"}

    with pytest.raises(AdapterError, match="not what was asked for"):
        AdaptedModule(MODULES["sasrec"](), Sloppy())


@EVERYWHERE
def test_it_can_be_tried_without_memory(name: str, module: str) -> None:
    base = MODULES[module]()
    with torch.device("meta"):
        for each in (base, MODULES[module]()):  # a sketch may hold parts that are real
            made = AdaptedModule(each, adapter(name))
            assert made.names == tuned(name, module).names
