"""What every adapter keeps to on any module, ours or a hub's. Adapters are found by their YAML."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_rec import config
from lightning_rec.adapters.base import Adapter, AdapterError, Tuned
from lightning_rec.data.batches import Histories
from lightning_rec.data.split import Schema
from lightning_rec.errors import UserError
from lightning_rec.models.sequential.bert4rec import BERT4Rec
from lightning_rec.models.sequential.sasrec import SASRec

pytest.importorskip("peft")
ADAPTERS = config.choices("adapter")
SCHEMA = Schema(20, 6, 1)
ITEMS = torch.randint(20, (4, 5), generator=torch.Generator().manual_seed(0))


class Ours(nn.Module):
    """One of our models of sequences, asked at the last place."""

    def __init__(self, kind: type[SASRec | BERT4Rec]) -> None:
        super().__init__()
        self.model = kind(SCHEMA, dim=16, heads=2, dropout=0.0, attention_dropout=0.0)

    def forward(self, items: Tensor) -> Tensor:
        nobody = torch.zeros(len(items), dtype=torch.int64)
        made: Tensor = self.model(Histories(items, nobody), torch.full((len(items),), 4))
        return made


class Hub(nn.Module):
    """A tiny random model of transformers, its last hidden states."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        transformers = pytest.importorskip("transformers")
        small: dict[str, Any] = {"vocab_size": 20}
        if kind == "gpt2":
            small |= {"n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 8}
        else:
            small |= {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}  # fmt: skip
        self.model = transformers.AutoModel.from_config(
            transformers.AutoConfig.for_model(kind, **small)
        )

    def forward(self, items: Tensor) -> Tensor:
        made: Tensor = self.model(input_ids=items).last_hidden_state[:, -1]
        return made


MODULES: dict[str, Callable[[], nn.Module]] = {
    "bert4rec": lambda: Ours(BERT4Rec),
    "sasrec": lambda: Ours(SASRec),
    "bert": lambda: Hub("bert"),
    "gpt2": lambda: Hub("gpt2"),
}
TARGETS = {
    ("lora", "gpt2"): ["c_attn"],
    ("bottleneck", "gpt2"): ["c_proj"],
    ("bottleneck", "bert"): ["output.dense"],
}


def adapter(name: str, **settings: Any) -> Adapter:
    made: Adapter = config.build("adapter", config.plain(config.compose([f"adapter={name}"]).adapter) | settings)  # fmt: skip
    return made


def tuned(name: str, module: str, seed: int = 0) -> Tuned:
    torch.manual_seed(seed)
    settings = {"targets": TARGETS[name, module]} if (name, module) in TARGETS else {}
    return Tuned(MODULES[module]().eval(), adapter(name, **settings))


def stepped(made: Tuned, steps: int = 3) -> None:
    """Some steps of a rough optimizer over everything that the module has."""
    optimizer = torch.optim.AdamW(made.module.parameters(), lr=0.05, weight_decay=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        out = made.module(ITEMS)
        (out * torch.linspace(-1, 1, out.shape[1])).sum().backward()
        optimizer.step()


EVERY = pytest.mark.parametrize("name", ADAPTERS)
ON = pytest.mark.parametrize("module", list(MODULES))


@EVERY
@ON
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
    after = [p for n, p in made.module.named_parameters() if n not in made.names]
    kept = {p.numpy().tobytes() for p in base.values()}
    assert all(p.detach().numpy().tobytes() in kept for p in after)
    assert sum(p.numel() for p in after) == sum(p.numel() for p in made.frozen.values())


@EVERY
@ON
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


@EVERY
@ON
def test_what_is_saved_loads_back_equal(name: str, module: str, tmp_path: Path) -> None:
    made = tuned(name, module)
    if name != "frozen":
        stepped(made)
    made.save(tmp_path / "adapter.safetensors")
    torch.manual_seed(0)
    again = tuned(name, module)
    again.load(tmp_path / "adapter.safetensors")
    assert torch.equal(again.module(ITEMS), made.module(ITEMS))
    if name != "full":
        with pytest.raises(UserError, match="on another base model"):
            tuned(name, module, seed=1).load(tmp_path / "adapter.safetensors")


@pytest.mark.parametrize("name", [name for name in ADAPTERS if type(adapter(name)).merge is not Adapter.merge])  # fmt: skip
@ON
def test_what_merges_merges_equal_and_leaves_nothing(name: str, module: str) -> None:
    torch.manual_seed(0)
    names = {n for n, _ in MODULES[module]().named_modules()}
    made = tuned(name, module)
    stepped(made)
    wanted = made.module(ITEMS)
    made.adapter.merge(made.module)
    torch.testing.assert_close(made.module(ITEMS), wanted, atol=1e-5, rtol=1e-5)
    assert {n for n, _ in made.module.named_modules()} == names


@EVERY
@ON
def test_the_parts_add_up_and_are_logged(
    name: str, module: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = tuned(name, module)
    parts = made.parts()
    assert sum(p.tuned for p in parts) == sum(w.numel() for w in made.weights.values())
    everything = sum(p.numel() for p in made.module.parameters())
    assert sum(p.parameters for p in parts) == everything
    share = sum(p.tuned for p in parts) / everything
    assert share == {"full": 1, "frozen": 0}.get(name, share)
    assert name in ("full", "frozen") or 0 < share < 1
    with caplog.at_level("INFO", "lightning_rec"):
        made.report()
    assert f"{sum(p.tuned for p in parts):,}" in caplog.text


@EVERY
def test_its_yaml_holds_every_keyword_with_its_default(name: str) -> None:
    node = config.plain(config.compose([f"adapter={name}"]).adapter)
    kind = config.target("adapter", node)
    keywords = {} if kind.__init__ is object.__init__ else inspect.signature(kind).parameters
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in node.items() if k != "_target_"}
    assert given == {key: parameter.default for key, parameter in keywords.items()}


def test_top_layers_are_the_last_ones_and_what_comes_after() -> None:
    made = tuned("top_layers", "bert")
    parts = {name.partition(".")[2] for name in made.names}
    assert {name for name in parts if not name.startswith("encoder.layer.2.")} == {
        "pooler.dense.weight", "pooler.dense.bias",
    }  # fmt: skip
    two = Tuned(Ours(BERT4Rec), adapter("top_layers", k=2))
    assert {name.split(".")[1] for name in two.names} == {"layers", "transform", "transform_norm"}
    assert {name.split(".")[2] for name in two.names if ".layers." in name} == {"0", "1"}


def test_a_bottleneck_is_after_its_target_and_near_the_identity_at_first() -> None:
    torch.manual_seed(0)
    linear, x = nn.Linear(5, 4), torch.randn(3, 5)
    made = Tuned(nn.ModuleDict({"output": linear}), adapter("bottleneck", width=2, targets=["output"]))  # fmt: skip
    followed = made.module.get_submodule("output")
    hidden = linear(x)
    assert (followed(x) - hidden).abs().max() < 1e-3
    for weight in made.weights.values():
        nn.init.normal_(weight)
    w = {name.partition(".")[2]: value for name, value in made.weights.items()}
    inner = nn.functional.gelu(hidden @ w["down.weight"].T + w["down.bias"])
    wanted = hidden + inner @ w["up.weight"].T + w["up.bias"]
    torch.testing.assert_close(followed(x), wanted)


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("lora", {"targets": ["queri"]}, "no linear map 'queri'. Did you mean 'query'?"),
        ("lora", {"targets": []}, "names nothing"),
        ("bottleneck", {"targets": ["item"]}, "There are: query, key, value, output, expand"),
        ("top_layers", {"k": 9}, "adapter.k=9: Ours has 2 layers in 'model.layers'"),
        ("top_layers", {"layers": "model.layer"}, "no such list of layers. Did you mean 'model.layers'"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_told_with_what_there_is(
    name: str, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError) as refusal:
        Tuned(Ours(BERT4Rec), adapter(name, **settings))
    assert said in str(refusal.value)


def test_a_module_without_layers_has_no_top() -> None:
    with pytest.raises(UserError, match="Linear has no list of layers"):
        Tuned(nn.Linear(2, 2), adapter("top_layers"))


def test_another_adapters_file_and_a_broken_one_are_told(tmp_path: Path) -> None:
    path = tmp_path / "adapter.safetensors"
    tuned("lora", "sasrec").save(path)
    other = Tuned(MODULES["sasrec"](), adapter("lora", rank=4))
    other.base_hash = tuned("lora", "sasrec").base_hash
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
        Tuned(MODULES["sasrec"](), Sloppy())


def test_without_peft_lora_is_refused_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(UserError, match=r"needs peft.*lightning-rec\[hub\]"):
        adapter("lora")
    adapter("bottleneck")
