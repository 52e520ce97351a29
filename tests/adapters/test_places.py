"""Which linear maps, biases and layers are meant, by their names, in architectures of all kinds."""

from typing import Any

import pytest
import torch
from adapters.tiny_modules import Hub, Ours, adapter, hub_model, layers_of, stepped, tuned
from torch import nn

from lightning_rec.adapters.base import AdaptedModule
from lightning_rec.adapters.places import top_of, within
from lightning_rec.errors import UserError
from lightning_rec.models.sequential.bert4rec import BERT4Rec
from lightning_rec.models.sequential.hstu import HSTU

pytest.importorskip("peft")
# Of a layer: what makes queries and values, keys and values, what ends attention and feed-forward.
KINDS: dict[str, tuple[set[str], set[str], str, str]] = {
    "bert": ({"attention.self.query", "attention.self.value"}, {"attention.self.key", "attention.self.value"}, "attention.output.dense", "output.dense"),
    "roberta": ({"attention.self.query", "attention.self.value"}, {"attention.self.key", "attention.self.value"}, "attention.output.dense", "output.dense"),
    "deberta-v2": ({"attention.self.query_proj", "attention.self.value_proj"}, {"attention.self.key_proj", "attention.self.value_proj"}, "attention.output.dense", "output.dense"),
    "mpnet": ({"attention.attn.q", "attention.attn.v"}, {"attention.attn.k", "attention.attn.v"}, "attention.attn.o", "output.dense"),
    "distilbert": ({"attention.q_lin", "attention.v_lin"}, {"attention.k_lin", "attention.v_lin"}, "attention.out_lin", "ffn.lin2"),
    "modernbert": ({"attn.Wqkv"}, {"attn.Wqkv"}, "attn.Wo", "mlp.Wo"),
    "gpt2": ({"attn.c_attn"}, {"attn.c_attn"}, "attn.c_proj", "mlp.c_proj"),
    "qwen3": ({"self_attn.q_proj", "self_attn.v_proj"}, {"self_attn.k_proj", "self_attn.v_proj"}, "self_attn.o_proj", "mlp.down_proj"),
    "llama": ({"self_attn.q_proj", "self_attn.v_proj"}, {"self_attn.k_proj", "self_attn.v_proj"}, "self_attn.o_proj", "mlp.down_proj"),
    "phi3": ({"self_attn.qkv_proj"}, {"self_attn.qkv_proj"}, "self_attn.o_proj", "mlp.down_proj"),
    "opt": ({"self_attn.q_proj", "self_attn.v_proj"}, {"self_attn.k_proj", "self_attn.v_proj"}, "self_attn.out_proj", "fc2"),
    "gpt_neox": ({"attention.query_key_value"}, {"attention.query_key_value"}, "attention.dense", "mlp.dense_4h_to_h"),
}  # fmt: skip


def by_layer(kind: str, name: str, **settings: Any) -> dict[str, set[str]]:
    """What an adapter of this name tunes: targets by the number of the layer."""
    with torch.device("meta"):
        made = AdaptedModule(hub_model(kind), adapter(name, **settings))
    (stack,) = (n for n, m in made.module.named_modules() if m is layers_of(made.module))
    found: dict[str, set[str]] = {}
    for each in made.names:
        assert each.startswith(f"{stack}.")
        number, _, rest = each.removeprefix(f"{stack}.").partition(".")
        for end in (".lora_", ".ia3_", ".down.", ".up."):
            rest = rest.partition(end)[0]
        found.setdefault(number, set()).add(rest)
    return found


@pytest.mark.parametrize("kind", list(KINDS))
def test_targets_are_those_that_the_architecture_is_known_for(kind: str) -> None:
    query_value, key_value, attended, fed = KINDS[kind]
    wanted = {
        "lora": query_value,
        "adalora": query_value,
        "ia3": {*key_value, fed},
        "bottleneck": {attended, fed},
    }
    fed_alone = {fed}
    for name, ends in wanted.items():
        assert by_layer(kind, name) == dict.fromkeys("012", ends)
        assert by_layer(kind, name, top=2) == dict.fromkeys("12", ends)
    assert by_layer(kind, "bottleneck", placement="pfeiffer") == dict.fromkeys("012", fed_alone)


def test_of_t5_the_encoder_and_the_decoder_are_targets() -> None:
    with torch.device("meta"):
        made = AdaptedModule(hub_model("t5"), adapter("lora"))
    assert {name.split(".")[0] for name in made.names} == {"encoder", "decoder"}
    assert {name.split(".")[6] for name in made.names} == {"q", "v"}


def test_a_model_itself_is_tuned_as_one_that_is_held() -> None:
    for name in (
        "lora",
        "adalora",
        "ia3",
        "bottleneck",
        "bitfit",
        "prefix",
        "prompt",
        "top_layers",
    ):
        torch.manual_seed(0)
        made = AdaptedModule(hub_model("bert"), adapter(name))
        assert {f"model.{each}" for each in made.names} == tuned(name, "bert").names


@pytest.mark.parametrize("name", ["lora", "adalora", "ia3"])
def test_named_targets_go_before_known_ones(name: str) -> None:
    further: dict[str, Any] = {"feedforward": []} if name == "ia3" else {}
    made = tuned(name, "bert", targets=["encoder.layer.1.output.dense", "query"], **further)
    targets = {each.partition(".lora_")[0].partition(".ia3_")[0] for each in made.names}
    queries = {f"model.encoder.layer.{number}.attention.self.query" for number in range(3)}
    assert targets == {*queries, "model.encoder.layer.1.output.dense"}


def test_a_star_is_one_part_of_a_name() -> None:
    made = tuned("bottleneck", "bert", targets=["layer.*.output.dense"])
    assert not [name for name in made.names if "attention" in name]
    assert len(made.names) == 3 * 4
    assert len(tuned("bottleneck", "bert", targets=["output.dense"]).names) == 6 * 4


def test_factors_alone_on_what_is_given_or_on_what_is_read() -> None:
    given = tuned("ia3", "bert4rec", feedforward=[])
    read = tuned("ia3", "bert4rec", targets=[])
    assert {name.split(".")[3] for name in given.names} == {"key", "value"}
    assert {name.split(".")[3] for name in read.names} == {"contract"}
    assert {weight.shape for weight in given.weights.values()} == {(16, 1)}
    assert {weight.shape for weight in read.weights.values()} == {(1, 64)}


def test_top_layers_are_the_last_ones_and_what_comes_after() -> None:
    made = tuned("top_layers", "bert")
    parts = {name.partition(".")[2] for name in made.names}
    assert {name for name in parts if not name.startswith("encoder.layer.2.")} == {
        "pooler.dense.weight", "pooler.dense.bias",
    }  # fmt: skip
    two = AdaptedModule(Ours(BERT4Rec), adapter("top_layers", k=2))
    assert {name.split(".")[1] for name in two.names} == {"layers", "transform", "transform_norm"}
    assert {name.split(".")[2] for name in two.names if ".layers." in name} == {"0", "1"}


def test_biases_are_what_is_called_so() -> None:
    made = tuned("bitfit", "bert4rec")
    assert {name.rpartition(".")[2] for name in made.names} == {"bias"}
    assert {"model.norm.bias", "model.layers.0.query.bias"} <= made.names
    assert len(made.names) == 1 + 2 * 8 + 2
    high = tuned("bitfit", "bert4rec", top=1)
    assert {name.split(".")[1] for name in high.names} == {"layers", "transform", "transform_norm"}
    assert {name.split(".")[2] for name in high.names if ".layers." in name} == {"1"}


@pytest.mark.parametrize("kind", ["mpnet", "deberta-v2"])
@pytest.mark.parametrize(("name", "settings"), [("top_layers", {}), ("bitfit", {"top": 1}), ("lora", {"top": 1})])  # fmt: skip
def test_what_all_layers_read_is_not_after_them(
    name: str, settings: dict[str, int], kind: str
) -> None:
    """Distances between places stand behind the layers there, and are read in each of them."""
    relative = {"relative_attention": True, "norm_rel_ebd": "layer_norm"} if kind != "mpnet" else {}
    torch.manual_seed(0)
    made = AdaptedModule(Hub(kind, **relative).eval(), adapter(name, **settings))
    layers, seen = layers_of(made.module), []
    assert made.lowest_tuned(layers) == 2
    layers[2].register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().clone()))
    stepped(made)
    assert torch.equal(seen[0], seen[-1])


def test_what_tunes_below_the_layers_or_anywhere_leaves_nothing_the_same() -> None:
    def lowest(name: str, module: str, **settings: Any) -> int:
        made = tuned(name, module, **settings)
        return made.lowest_tuned(layers_of(made.module))

    assert lowest("full", "bert") == lowest("prefix", "bert") == lowest("bitfit", "bert") == 0
    assert (
        lowest("lora", "bert", targets=["layer.2.attention.self.key", "layer.1.output.dense"]) == 1
    )
    assert lowest("lora", "bert", targets=["layer.1.attention.self.key", "pooler.dense"]) == 0
    assert lowest("frozen", "bert") == 3


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("lora", {"targets": ["queri"]}, "no linear map 'queri'. Did you mean 'query'?"),
        ("lora", {"targets": []}, "names nothing"),
        ("adalora", {"targets": ["quer"]}, "Did you mean 'query'?"),
        ("ia3", {"targets": ["kee"]}, "adapter.targets: Ours has no linear map 'kee'. Did you mean 'key'?"),
        ("ia3", {"feedforward": ["contrct"]}, "adapter.feedforward: Ours has no linear map 'contrct'"),
        ("ia3", {"targets": [], "feedforward": []}, "leave nothing to tune"),
        ("bottleneck", {"targets": ["item"]}, "There are: query, key, value, output, expand"),
        ("lora", {"targets": ["layers.0.query"], "top": 1}, "adapter.top=1 leaves nothing to tune"),
        ("lora", {"top": 9}, "adapter.top=9: Ours has 2 layers in 'model.layers'"),
        ("bitfit", {"top": 9}, "adapter.top=9: Ours has 2 layers in 'model.layers'"),
        ("top_layers", {"k": 9}, "adapter.k=9: Ours has 2 layers in 'model.layers'"),
        ("top_layers", {"layers": "model.layer"}, "no such list of layers. Did you mean 'model.layers'"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_told_with_what_there_is(
    name: str, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError) as refusal:
        AdaptedModule(Ours(BERT4Rec), adapter(name, **settings))
    assert said in str(refusal.value)


@pytest.mark.parametrize(("name", "key"), [("lora", "targets"), ("adalora", "targets"), ("bottleneck", "targets"), ("ia3", "targets")])  # fmt: skip
def test_where_nothing_is_known_names_are_asked_for(name: str, key: str) -> None:
    with pytest.raises(UserError, match=rf"say adapter\.{key}=\[…\]\. There are: first, second"):
        AdaptedModule(
            nn.ModuleDict({"first": nn.Linear(2, 2), "second": nn.Linear(2, 2)}), adapter(name)
        )
    with pytest.raises(UserError, match="There are: none"):
        AdaptedModule(nn.Embedding(2, 2), adapter(name))


def test_what_is_known_of_a_part_is_enough() -> None:
    """HSTU makes queries and values, but has no feed-forward."""
    model = HSTU(Ours(BERT4Rec).model.schema, dim=8)
    with pytest.raises(
        UserError, match=r"adapter\.feedforward=null.*There are: gate, value, query"
    ):
        AdaptedModule(model, adapter("ia3"))
    assert AdaptedModule(model, adapter("lora")).names


def test_a_module_without_layers_or_biases_is_refused() -> None:
    with pytest.raises(UserError, match="Linear has no list of layers"):
        AdaptedModule(nn.Linear(2, 2), adapter("top_layers"))
    with pytest.raises(UserError, match=r"tunes biases, and Linear has none: adapter=lora"):
        AdaptedModule(nn.Linear(2, 2, bias=False), adapter("bitfit"))
    with (
        torch.device("meta"),
        pytest.raises(UserError, match="the last 1 layers of LlamaModel has"),
    ):
        AdaptedModule(hub_model("llama"), adapter("bitfit", top=1))


def test_a_name_that_begins_like_another_is_not_in_it() -> None:
    names = ["layer.1", "layer.1.weight", "layer.10.weight", "layer", "bias"]
    assert within(names, ["layer.1"]) == ["layer.1", "layer.1.weight"]
    assert within(names, ["layer"]) == names[:4]
    assert within(names, []) == []


def test_the_longest_list_is_that_of_the_layers() -> None:
    """And of equally long ones the first."""
    lists = {"few": 2, "many": 3, "others": 3}
    module = nn.ModuleDict(
        {name: nn.ModuleList(nn.Linear(2, 2) for _ in range(n)) for name, n in lists.items()}
    )
    assert top_of(module, 1) == ["many.2", "others"]
    assert top_of(module, 1, "few") == ["few.1", "many", "others"]
    assert top_of(module, 3, "others") == ["others.0", "others.1", "others.2"]
