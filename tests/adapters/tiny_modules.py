"""Small modules to be tuned, ours and those of transformers, and a rough way to train them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from shipped import said
from torch import Tensor, nn

from lightning_rec import config
from lightning_rec.adapters.base import AdaptedModule, Adapter
from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.sequential.bert4rec import BERT4Rec
from lightning_rec.models.sequential.sasrec import SASRec

SCHEMA = Schema(20, 6, 1)
ITEMS = torch.randint(20, (4, 5), generator=torch.Generator().manual_seed(0))
# What the settings of three small layers are called.
USUAL = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
FURTHER = {
    "opt": {"ffn_dim": 32, "word_embed_proj_dim": 16},
    "qwen3": {"head_dim": 8, "num_key_value_heads": 1},
}
SIZES = {
    "gpt2": {"n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 32},
    "distilbert": {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 32},
    "t5": {"d_model": 16, "num_layers": 3, "num_heads": 2, "d_kv": 8, "d_ff": 32},
}
WORDS = {"vocab_size": 20, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def hub_model(kind: str, **settings: Any) -> Any:
    """A tiny random model of transformers."""
    transformers = pytest.importorskip("transformers")
    sizes = WORDS | SIZES.get(kind, USUAL | FURTHER.get(kind, {})) | settings
    made = transformers.AutoConfig.for_model(kind, **sizes)
    return transformers.AutoModel.from_config(made)


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

    def __init__(self, kind: str, **settings: Any) -> None:
        super().__init__()
        self.model = hub_model(kind, **settings)

    def forward(self, items: Tensor) -> Tensor:
        made: Tensor = self.model(input_ids=items).last_hidden_state[:, -1]
        return made


MODULES: dict[str, Callable[[], nn.Module]] = {
    "bert4rec": lambda: Ours(BERT4Rec),
    "sasrec": lambda: Ours(SASRec),
    "bert": lambda: Hub("bert"),
    "gpt2": lambda: Hub("gpt2"),
}


def adapter(name: str, **settings: Any) -> Adapter:
    made: Adapter = config.build("adapter", said("adapter", name) | settings)
    return made


def tuned(name: str, module: str, seed: int = 0, **settings: Any) -> AdaptedModule:
    torch.manual_seed(seed)
    return AdaptedModule(MODULES[module]().eval(), adapter(name, **settings))


def loss_of(module: nn.Module) -> Tensor:
    out = module(ITEMS)
    return (out * torch.linspace(-1, 1, out.shape[1])).sum()


def stepped(made: AdaptedModule, steps: int = 3) -> None:
    """Some steps of a rough optimizer over everything that the module has."""
    optimizer = torch.optim.AdamW(made.module.parameters(), lr=0.05, weight_decay=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(made.module).backward()
        optimizer.step()


def layers_of(module: nn.Module) -> nn.ModuleList:
    """The list of layers."""
    return max((m for m in module.modules() if isinstance(m, nn.ModuleList)), key=len)
