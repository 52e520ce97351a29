"""The hub's decoders: nothing is fetched, all learns, no place sees the future."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from lightning_rec.data.split import Histories, Schema
from lightning_rec.errors import UserError
from lightning_rec.models.sequential import decoder
from lightning_rec.models.sequential.decoder import Decoder

SCHEMA = Schema(num_items=30, max_len=8, num_users=4)
KINDS = ["gpt2", "gpt_neox", "llama", "mistral", "qwen3"]


def made(architecture: str, **settings: Any) -> Decoder:
    """Small, in evaluation mode, weights large enough for everything to show."""
    pytest.importorskip("transformers")
    torch.manual_seed(0)
    model = Decoder(SCHEMA, architecture, dim=16, **settings).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.3)
    return model


def asked(items: torch.Tensor) -> tuple[Histories, torch.Tensor]:
    return Histories(items, torch.zeros(len(items), dtype=torch.int64)), torch.ones_like(items).bool()  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_place_sees_all_before_it_in_order_and_nothing_after(kind: str) -> None:
    model = made(kind)
    items = torch.tensor([[3, 1, 4, 1, 5, 9]])
    states = model(*asked(items))
    for place in range(6):
        other = items.clone()
        other[0, place] = 7
        changed = (model(*asked(other)) - states).abs().amax(dim=1) > 1e-5
        assert changed.tolist() == [after >= place for after in range(6)]
    swapped = model(*asked(items[:, [1, 0, 2, 3, 4, 5]]))
    assert (swapped[-1] - states[-1]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_learns_and_there_is_no_table_of_words(kind: str) -> None:
    model = made(kind).train()
    queries = model(*asked(torch.randint(30, (4, 8))))
    model.scores(queries).logsumexp(dim=1).sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    assert [table.num_embeddings for table in tables if table is not model.item] in ([], [8])


@pytest.mark.parametrize("kind", KINDS)
def test_settings_reach_the_architecture(kind: str) -> None:
    config = made(kind, depth=3, heads=4, feedforward=2).body.config
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (16, 3, 4)
    assert getattr(config, "n_inner", None) == 32 or config.intermediate_size == 32
    assert config.max_position_embeddings == 8
    model = made(kind, dropout=0.3)
    shares = [p for name, p in model.body.config.to_dict().items() if name.endswith(("_pdrop", "_dropout")) and name not in ("embd_pdrop", "summary_first_dropout", "classifier_dropout")]  # fmt: skip
    assert shares
    assert set(shares) == {0.3}
    assert getattr(model.body.config, "embd_pdrop", 0) == 0
    assert model.dropout.p == 0.3
    with torch.device("meta"):
        sketch = Decoder(SCHEMA, kind, dim=16)
    assert {parameter.device.type for parameter in sketch.parameters()} == {"meta"}


def test_gpt2_by_hand() -> None:
    model = made("gpt2", depth=1, heads=1)
    items = torch.tensor([[3, 1, 4]])
    block: Any = model.body.h[0]
    hidden = model.item.weight[items[0]] + model.body.wpe.weight[:3]
    query, key, value = block.attn.c_attn(block.ln_1(hidden)).split(16, dim=1)
    weights = (query @ key.T / 4).masked_fill(torch.ones(3, 3).triu(1).bool(), -torch.inf)
    hidden = hidden + block.attn.c_proj(weights.softmax(dim=1) @ value)
    inner = nn.functional.gelu(block.mlp.c_fc(block.ln_2(hidden)), approximate="tanh")
    hidden = model.body.ln_f(hidden + block.mlp.c_proj(inner))
    torch.testing.assert_close(model(*asked(items)), hidden, atol=1e-4, rtol=1e-4)


def test_the_output_is_tied_to_the_items_without_bias() -> None:
    model, queries = made("gpt2"), torch.randn(4, 16)
    torch.testing.assert_close(model.scores(queries), queries @ model.item.weight[:30].T)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_works_in_training_alone(kind: str) -> None:
    model, items = made(kind, dropout=0.5), torch.randint(30, (4, 8))
    assert torch.equal(model(*asked(items)), model(*asked(items)))
    for part in (model.dropout, model.body):  # each has some of its own
        part.train()
        assert not torch.equal(model(*asked(items)), model(*asked(items)))
        part.eval()


def test_what_is_no_causal_model_is_refused() -> None:
    pytest.importorskip("transformers")
    with pytest.raises(ValueError, match=r"architecture=gpt3 is no causal.* Did you mean 'gpt"):
        Decoder(SCHEMA, "gpt3")
    with pytest.raises(ValueError, match="architecture=bert looks ahead"):
        Decoder(SCHEMA, "bert")
    with pytest.raises(ValueError, match="heads=3 must divide dim=64"):
        Decoder(SCHEMA, heads=3)


def test_without_transformers_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(decoder, "import_module", missing)
    with pytest.raises(UserError, match="pip install transformers"):
        Decoder(SCHEMA)


def test_transformers_is_imported_only_when_one_is_built() -> None:
    code = (  # as the command line does: Lightning's torchmetrics would import it
        "import sys; from lightning_rec.commands.loading import loading\n"
        "with loading():\n    import lightning_rec.models.sequential.decoder\n"
        "print('transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
