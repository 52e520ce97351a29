"""A language model of transformers that makes one vector of each text.

Reimers and Gurevych, Sentence-BERT, EMNLP 2019, arXiv:1908.10084 (section 3: pooling). Shapes: B
texts, T tokens, E = width of the language model.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightning_rec.errors import UserError
from lightning_rec.language.tokens import Tokens

Pooling = Literal["mean", "cls", "last"]


class LanguageModel(nn.Module):
    """A pretrained model of transformers: no penalty draws its weights to zero."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.eval()

    @property
    def layers(self) -> nn.ModuleList:
        """The layers of the language model, the lowest first."""
        lists = [m for m in self.model.modules() if isinstance(m, nn.ModuleList)]
        return max(lists, key=len)

    def drop_from(self, depth: int) -> None:
        """Let the layers from ``depth`` on drop out while they learn; those below drop nothing."""
        self.eval()
        for layer in self.layers[depth:]:
            layer.train()


def check_length(model: LanguageModel, key: str, tokens: int) -> None:
    """Raise UserError, naming the ``key``, if a language model cannot read so many tokens."""
    config: Any = model.model.config
    most = places_of(model.model) or getattr(config, "max_position_embeddings", None)
    if most is not None and tokens > most:
        raise UserError(f"{key}={tokens}: the language model reads {most} tokens at most.")


def places_of(host: nn.Module) -> int | None:
    """How many places a model has vectors for; None if it counts them in another way."""
    for name, each in host.named_modules():
        last = name.rpartition(".")[2]
        if isinstance(each, nn.Embedding) and last in ("position_embeddings", "wpe"):
            unused = 0 if each.padding_idx is None else each.padding_idx + 1  # as RoBERTa counts
            return each.num_embeddings - unused
    return None


class TextEncoder(LanguageModel):
    """Texts -> vectors, whole, or from some layer on where what lies below is known already.

    Args:
        model: of transformers, without a head: gives ``last_hidden_state``.
        pooling: ``mean`` of the tokens' states, that of the first one (``cls``), or of the
            ``last`` one, which alone has read all of the text in a causal model.
        normalize: make each vector of length 1.
    """

    def __init__(self, model: nn.Module, pooling: Pooling = "mean", normalize: bool = True) -> None:
        super().__init__(model)
        self.pooling, self.normalize = pooling, normalize
        config: Any = model.config
        self.width = int(config.hidden_size)  # E, of the vectors
        self._returned: int | None = None  # things in the tuple that a layer returns, 0 if none

    def forward(self, tokens: Tokens, below: Tensor | None = None, depth: int = 0) -> Tensor:
        """Make vectors of B texts, float [B, E]. ``below``, float [B, T, E], is what the first
        ``depth`` layers make of them, if known: these are not computed then.
        """
        if not depth:
            return self.pool(self._states(tokens), tokens.mask)
        with self._passing(self.layers[:depth], below):
            states = self._states(tokens)
        return self.pool(states, tokens.mask)

    @torch.no_grad()
    def lower(self, tokens: Tokens, depth: int) -> Tensor:
        """What the first ``depth`` layers make of texts: float [B, T, E], without gradients."""
        layers = self.layers
        kept: list[Tensor] = []
        hook = layers[depth - 1].register_forward_hook(
            lambda _module, _args, made: kept.append(made[0] if isinstance(made, tuple) else made)
        )
        try:
            with self._passing(layers[depth:], None):
                self._states(tokens)
        finally:
            hook.remove()
        return kept[-1]

    def pool(self, states: Tensor, mask: Tensor) -> Tensor:
        """States of tokens, float [B, T, E] and bool [B, T] -> float [B, E]."""
        if self.pooling == "cls":
            vectors = states[:, 0]
        elif self.pooling == "last":
            last = mask.sum(dim=1) - 1
            vectors = states[torch.arange(len(states), device=states.device), last]
        else:
            weight = mask[..., None].to(states.dtype)
            vectors = (states * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
        return functional.normalize(vectors, dim=-1) if self.normalize else vectors

    def _states(self, tokens: Tokens) -> Tensor:
        kinds = {} if tokens.kinds is None else {"token_type_ids": tokens.kinds}
        made = self.model(input_ids=tokens.ids, attention_mask=tokens.mask.long(), **kinds)
        return made.last_hidden_state

    @contextmanager
    def _passing(self, layers: nn.ModuleList, states: Tensor | None) -> Iterator[None]:
        """Let layers compute nothing and pass on what they are given; the first one: ``states``.
        What a layer is called with and returns besides differs between models, and is left to them
        this way.
        """
        returned = self._layers_return() if len(layers) else 0

        def passing(instead: Tensor | None) -> Callable[..., Any]:
            def forward(hidden_states: Tensor, *_: Any, **__: Any) -> Any:
                made = hidden_states if instead is None else instead
                return (made, *[None] * (returned - 1)) if returned else made

            return forward

        for place, layer in enumerate(layers):
            layer.forward = passing(states if place == 0 else None)
        try:
            yield
        finally:
            for layer in layers:
                del layer.forward  # what its class says holds again

    def _layers_return(self) -> int:
        """How many things are in the tuple that a layer returns; 0 if it returns states alone."""
        if self._returned is None:
            made: list[Any] = []
            hook = self.layers[0].register_forward_hook(lambda *call: made.append(call[2]))
            mask = torch.ones(1, 1, dtype=torch.bool, device=next(self.parameters()).device)
            with torch.no_grad():
                self._states(Tokens(mask.long(), mask))
            hook.remove()
            self._returned = len(made[0]) if isinstance(made[0], tuple) else 0
        return self._returned
