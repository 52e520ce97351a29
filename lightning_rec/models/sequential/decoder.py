"""A decoder of the Hugging Face hub's kinds (GPT-2, Llama, Qwen, …) over items instead of words.

Of transformers only the architecture is used: weights start at random, nothing is fetched. GPT-2:
Radford et al., 2019, "Language Models are Unsupervised Multitask Learners". Shapes: as in
:class:`NeuralSequenceModel`.
"""

from importlib import import_module
from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from lightning_rec.data.split import Histories, Schema
from lightning_rec.errors import UserError, nearest
from lightning_rec.models.items.ids import Ids, Items
from lightning_rec.models.layers import Dropout, gather
from lightning_rec.models.sequential.base import NORMAL, NeuralSequenceModel
from lightning_rec.ranges import BelowOne, Layers


class Decoder(NeuralSequenceModel):
    """A causal language model of transformers between an item table and itself.

    Args:
        architecture: a type of causal model in transformers: ``gpt2``, ``gpt_neox``, ``llama``,
            ``mistral``, ``qwen3``, …
        dropout: on the item vectors, and wherever the architecture itself has dropout.

    Raises:
        ValueError: if the architecture is unknown or looks ahead.
        UserError: if transformers is not installed.
    """

    def __init__(
        self,
        schema: Schema,
        architecture: str = "gpt2",
        dim: PositiveInt = 64,
        depth: Layers = 2,
        heads: PositiveInt = 2,
        feedforward: PositiveInt = 4,
        dropout: BelowOne = 0.2,
        items: Items = Ids,
    ) -> None:
        super().__init__(schema, dim, items, heads)
        self.dropout = Dropout(dropout)
        self.body = body(
            architecture,
            hidden_size=dim,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            head_dim=dim // heads,
            intermediate_size=dim * feedforward,
            n_inner=dim * feedforward,
            max_position_embeddings=schema.max_len,
            resid_pdrop=dropout,
            embd_pdrop=0.0,  # this model's own
            attn_pdrop=dropout,
            attention_dropout=dropout,
            hidden_dropout=dropout,
        )
        self.item.initialise(NORMAL)

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """Queries float [M, D]; padding stands on the right, where no place looks."""
        vectors_BLD = self.dropout(self.embedded(histories))
        hidden_BLD = self.body(inputs_embeds=vectors_BLD, use_cache=False).last_hidden_state
        return gather(hidden_BLD, positions)


def body(architecture: str, **settings: Any) -> nn.Module:
    """The layers of an architecture, without a table of words.

    ``settings``: by the names that their configs go by; each architecture takes those it knows.
    """
    try:  # here, because it takes a second to import, and other models do without
        hub = import_module("transformers")
        kinds = import_module("transformers.models.auto.modeling_auto")
    except ImportError:
        raise UserError(
            "model=decoder and rpg need transformers: pip install transformers."
        ) from None
    names = kinds.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if architecture not in names:
        hint = nearest(architecture, names)
        raise ValueError(f"architecture={architecture} is no causal model of transformers.{hint}")
    # Padding and the like are this package's own affair; one word, whose vector goes at once.
    settings |= dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id")) | {"vocab_size": 1}
    known = hub.AutoConfig.for_model(architecture)
    taken = {key: value for key, value in settings.items() if hasattr(known, key)}
    layers = hub.AutoModel.from_config(hub.AutoConfig.for_model(architecture, **taken))
    layers.set_input_embeddings(nn.Identity())  # a table that never learns would trouble DDP
    assert isinstance(layers, nn.Module)
    if not causal(layers, settings["hidden_size"]):
        raise ValueError(f"architecture={architecture} looks ahead: it is no decoder.")
    return layers


@torch.no_grad()
def causal(layers: nn.Module, dim: int) -> bool:
    """Whether a place is blind to what comes after it (some architectures are made for both).

    One that looked ahead would know each answer while it learns, and nothing would tell.
    """
    if any(parameter.is_meta for parameter in layers.parameters()):
        return True  # the sketch of a model, which holds no numbers
    one, other = torch.eye(max(dim, 2), dim)[:2].view(1, 2, dim).repeat(2, 1, 1)
    other[1] = -one[1]
    layers.eval()
    before, after = layers(inputs_embeds=torch.stack([one, other]), use_cache=False)[0][:, 0]
    layers.train()
    return torch.allclose(before, after, atol=1e-6)
