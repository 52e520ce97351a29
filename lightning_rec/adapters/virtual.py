"""Virtual tokens before a text, which alone are tuned: keys and values for each layer, or inputs.

Li and Liang, Prefix-Tuning: Optimizing Continuous Prompts for Generation, ACL 2021,
arXiv:2101.00190. Lester et al., The Power of Scale for Parameter-Efficient Prompt Tuning, EMNLP
2021, arXiv:2104.08691. Both are for models of transformers. peft makes the tokens; they enter by
hooks, since peft's own wrapper stands in the module's place, and leaves the virtual tokens of a
prompt in the result. Shapes: B texts, T places, P virtual tokens, D = width, N layers, H heads of
keys and values, C their width.
"""

import inspect
from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from lightning_rec.adapters.base import Adapter
from lightning_rec.adapters.injected import peft_for
from lightning_rec.errors import UserError
from lightning_rec.language.encoder import places_of

OTHERS = "adapter=lora, adalora, ia3, bottleneck, bitfit, top_layers, full and frozen do work."
NAME = "virtual"  # of what is put into the model
INIT_STD = 0.02


@dataclass(eq=False)
class Virtual(Adapter):
    """P virtual ``tokens`` that enter a model of transformers by the argument ``lacking``.

    The longest text is shorter by as many. Raises UserError if peft is not installed.
    """

    lacking: ClassVar[str]
    tokens: PositiveInt = 10

    def __post_init__(self) -> None:
        self.name = type(self).__name__.lower()
        self.peft = peft_for(self.name)

    def attach(self, module: nn.Module) -> set[str]:
        """Put tokens into the one model of transformers that ``module`` is, or holds."""
        path, host = self._host(module)
        module.requires_grad_(False)
        with next(host.parameters()).device:
            tokens = self._made(host)
        host.add_module(NAME, tokens)
        return {f"{path}{NAME}.{name}" for name, _ in tokens.named_parameters()}

    @abstractmethod
    def _made(self, host: Any) -> "Tokens":
        """The tokens, hooked into ``host``."""

    def _host(self, module: nn.Module) -> tuple[str, Any]:
        """The body of the model, and its name with a dot after it, if it has one."""
        kind = import_module("transformers").PreTrainedModel
        found = {name: each for name, each in module.named_modules() if isinstance(each, kind)}
        whole = [
            name
            for name in found
            if not any(other != name and name.startswith(other and f"{other}.") for other in found)
        ]
        if len(whole) != 1:
            raise UserError(
                f"adapter={self.name} puts virtual tokens before what a model of transformers "
                f"reads, and {type(module).__name__} holds {len(whole) or 'none'}. {OTHERS}"
            )
        host: Any = found[whole[0]].base_model
        (name,) = (name for name, each in module.named_modules() if each is host)
        takes = inspect.signature(host.forward).parameters
        if self.lacking not in takes or "decoder_input_ids" in takes:
            raise UserError(
                f"adapter={self.name}: {type(host).__name__} takes no {self.lacking}, by which the "
                f"virtual tokens would enter, or is an encoder and a decoder. {OTHERS}"
            )
        return name and f"{name}.", host


@dataclass(eq=False)
class Prefix(Virtual):
    """Keys and values for each layer, as if of tokens before the text (section 4).

    Args:
        tokens: P.
        hidden: width of the network that makes keys and values of vectors while they are tuned, as
            the paper does (section 4.3); None tunes them themselves.
    """

    lacking: ClassVar = "past_key_values"
    hidden: PositiveInt | None = None

    def _made(self, host: Any) -> "Tokens":
        config = host.config.get_text_config()
        number = config.num_attention_heads
        heads = getattr(config, "num_key_value_heads", None) or number
        width = getattr(config, "head_dim", None) or config.hidden_size // number
        settings = self.peft.PrefixTuningConfig(
            num_virtual_tokens=self.tokens,
            token_dim=heads * width,
            num_layers=config.num_hidden_layers,
            prefix_projection=self.hidden is not None,
            encoder_hidden_size=self.hidden,
        )
        made = self.peft.PrefixEncoder(settings)
        if self.hidden is None:
            nn.init.normal_(made.embedding.weight, std=INIT_STD)  # peft's 1 drowns the text
        return KeysAndValues(host, made, self.tokens, heads)


class Prompt(Virtual):
    """Vectors before those of the words, first those of words drawn by chance (section 3.1)."""

    lacking: ClassVar = "inputs_embeds"

    def _made(self, host: Any) -> "Tokens":
        table = host.get_input_embeddings()
        words = isinstance(table, nn.Embedding)  # our decoder has none: it reads items
        settings = self.peft.PromptTuningConfig(
            num_virtual_tokens=self.tokens,
            token_dim=table.embedding_dim if words else host.config.hidden_size,
            num_transformer_submodules=1,
            prompt_tuning_init="SAMPLE_VOCAB" if words else "RANDOM",
        )
        made = self.peft.PromptEmbedding(settings, table)
        if not words:
            nn.init.normal_(made.embedding.weight, std=INIT_STD)
        return Inputs(host, made, self.tokens)


class Tokens(nn.Module, ABC):
    """Virtual tokens, hooked into a model of transformers, ``host``.

    ``made``: peft's module that makes the P tokens of their numbers.
    """

    def __init__(self, host: Any, made: nn.Module, tokens: int) -> None:
        super().__init__()
        self.made, self.tokens, self.places = made, tokens, places_of(host)
        self.arguments = [*inspect.signature(host.forward).parameters]
        host.register_forward_pre_hook(self._before, with_kwargs=True)
        host.register_forward_hook(self.leave, with_kwargs=True)

    @abstractmethod
    def enter(self, host: Any, call: dict[str, Any], batch: int) -> None:
        """Put the tokens into the arguments of a call; they are in its attention mask already."""

    @abstractmethod
    def leave(self, host: Any, args: Any, call: dict[str, Any], output: Any) -> Any:
        """The result as it is without virtual tokens."""

    def forward(self, host: Any) -> Tensor:
        """The tokens, float [P, ...], as exact as the model is."""
        numbers = torch.arange(self.tokens, device=next(self.parameters()).device)
        made: Tensor = self.made(numbers)
        return made.to(host.dtype)

    def _before(self, host: Any, args: Any, kwargs: Any) -> tuple[tuple[()], dict[str, Any]]:
        call = dict(zip(self.arguments, args, strict=False)) | kwargs
        for name in ("past_key_values", "position_ids"):
            if call.get(name) is not None:
                raise UserError(f"{type(host).__name__} with virtual tokens takes no {name}.")
        read = call["inputs_embeds"] if call.get("input_ids") is None else call["input_ids"]
        batch, length = read.shape[:2]
        if self.places is not None and self.tokens + length > self.places:
            raise UserError(
                f"{type(host).__name__} has {self.places} places, {self.tokens} of which are its "
                f"virtual tokens', but a text has {length}: cut texts, or lower adapter.tokens."
            )
        mask = call.get("attention_mask")
        if mask is None:
            mask = torch.ones(batch, length, dtype=torch.int64, device=read.device)
        call["attention_mask"] = torch.cat([mask.new_ones(batch, self.tokens), mask], dim=1)
        self.enter(host, call, batch)
        return (), call


class KeysAndValues(Tokens):
    """Tokens that every layer finds among its keys and values; ``made`` gives [P, 2 N H C]."""

    def __init__(self, host: Any, made: nn.Module, tokens: int, heads: int) -> None:
        super().__init__(host, made, tokens)
        self.heads, self.layers = heads, host.config.get_text_config().num_hidden_layers

    def enter(self, host: Any, call: dict[str, Any], batch: int) -> None:
        """As if the tokens had been read before."""
        saving = any(getattr(each, "gradient_checkpointing", False) for each in host.modules())
        if host.training and saving:
            raise UserError(
                f"{type(host).__name__} reads no prefix while gradient checkpointing is on: turn "
                "it off, or say adapter=prompt."
            )
        split = self(host).view(self.tokens, 2 * self.layers, self.heads, -1)  # [P, 2 N, H, C]
        each = split.permute(1, 2, 0, 3)[:, None].expand(-1, batch, -1, -1, -1)  # [2 N, B, H, P, C]
        pairs = list(zip(each[0::2], each[1::2], strict=True))
        call["past_key_values"] = import_module("transformers").DynamicCache(pairs)

    def leave(self, host: Any, args: Any, call: dict[str, Any], output: Any) -> Any:
        """The result as it is: keys and values have no place in it."""
        if any(layer.get_seq_length() == self.tokens for layer in call["past_key_values"].layers):
            raise UserError(
                f"{type(host).__name__} takes past_key_values, but does not read them in every "
                f"layer, so that a prefix is lost on it. {OTHERS}"
            )
        return output


class Inputs(Tokens):
    """Tokens that the first layer finds among its inputs; ``made`` gives float [P, D]."""

    def enter(self, host: Any, call: dict[str, Any], batch: int) -> None:
        """As vectors before those of the words."""
        words = call.get("inputs_embeds")
        if words is None:
            words = host.get_input_embeddings()(call["input_ids"])  # [B, T, D]
        virtual = self(host).expand(batch, -1, -1)
        call |= {"input_ids": None, "inputs_embeds": torch.cat([virtual, words], dim=1)}
        if (types := call.get("token_type_ids")) is not None:
            none = types.new_zeros(batch, self.tokens)
            call["token_type_ids"] = torch.cat([none, types], dim=1)

    def leave(self, host: Any, args: Any, call: dict[str, Any], output: Any) -> Any:
        """The states of the text alone, so that they fit its mask; what is pooled, from them."""
        if isinstance(output, tuple):
            return (output[0][:, self.tokens :], *output[1:])
        output.last_hidden_state = output.last_hidden_state[:, self.tokens :]
        if (states := output.get("hidden_states")) is not None:
            output.hidden_states = tuple(state[:, self.tokens :] for state in states)
        if (pooled := output.get("pooler_output")) is not None:
            again = host.pooler(output.last_hidden_state)
            output.pooler_output = again if again.shape == pooled.shape else None
        return output
