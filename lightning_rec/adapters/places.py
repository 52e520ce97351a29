"""Linear maps of a module by name, those that architectures are known for, and top layers."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from torch import nn

from lightning_rec.errors import UserError, listed, suggest


class Family(NamedTuple):
    """What an architecture calls its linear maps, as :func:`targets_of` reads names."""

    query_value: tuple[str, ...]
    key_value: tuple[str, ...]
    attended: str  # the last one of the attention, before its residual
    fed: str  # the last one of the feed-forward


ATTENDED, FED = "attention.output.dense", "layer.*.output.dense"
FAMILIES = (
    Family(("query", "value"), ("key", "value"), "output", "contract"),  # ours
    Family(("query", "value"), ("key", "value"), ATTENDED, FED),  # BERT, RoBERTa, ELECTRA
    Family(("query_proj", "value_proj"), ("key_proj", "value_proj"), ATTENDED, FED),  # DeBERTa v2
    Family(("attn.q", "attn.v"), ("attn.k", "attn.v"), "attn.o", FED),  # MPNet
    Family(("q_lin", "v_lin"), ("k_lin", "v_lin"), "out_lin", "lin2"),  # DistilBERT
    Family(("Wqkv",), ("Wqkv",), "attn.Wo", "mlp.Wo"),  # ModernBERT
    Family(("c_attn",), ("c_attn",), "attn.c_proj", "mlp.c_proj"),  # GPT-2
    Family(("q_proj", "v_proj"), ("k_proj", "v_proj"), "o_proj", "down_proj"),  # Llama, Qwen, …
    Family(("q_proj", "v_proj"), ("k_proj", "v_proj"), "out_proj", "fc2"),  # OPT
    Family(("qkv_proj",), ("qkv_proj",), "o_proj", "down_proj"),  # Phi-3
    Family(("query_key_value",), ("query_key_value",), "attention.dense", "dense_4h_to_h"),  # NeoX
    Family(("SelfAttention.q", "SelfAttention.v"), ("SelfAttention.k", "SelfAttention.v"),
           "SelfAttention.o", "wo"),  # T5
)  # fmt: skip


def outputs_of(module: nn.Module) -> int | None:
    """How wide the result of a linear map is; None for a module that is none.

    The Conv1D of transformers, which GPT-2 is made of, is a linear map too.
    """
    if isinstance(module, nn.Linear):
        return module.out_features
    return int(str(module.nf)) if type(module).__name__ == "Conv1D" else None


def targets_of(
    module: nn.Module,
    targets: Iterable[str] | None,
    default: Callable[[Family], tuple[str, ...]],
    top: int | None = None,
    key: str = "targets",
) -> list[str]:
    """Names of the linear maps within ``module`` that are targeted, in its order.

    Targets are ends of dotted names: ``query`` is ``layers.0.query`` and ``layers.1.query``. A
    ``*`` stands for one part of a name: ``layer.*.output`` is ``layer.0.output``, but not
    ``layer.0.attention.output``. None takes the ``default`` of the first family that has them all.
    ``top``: only those in the last layers, see :func:`top_of`.

    Raises UserError, about the adapter's ``key``, if a target is the end of no name; it lists them.
    """
    names = _linear(module)
    chosen: set[str] = set()
    for target in _default(module, default, key) if targets is None else targets:
        found = _found(names, target)
        if not found:
            raise UserError(
                f"adapter.{key}: {type(module).__name__} has no linear map "
                f"'{target}'.{suggest(target, _ends(names), limit=30)}"
            )
        chosen |= found
    if not chosen:
        raise UserError(f"adapter.{key} names nothing that would be tuned: say {key}=[…].")
    high = names if top is None else within(names, top_of(module, top))
    targeted = [name for name in high if name in chosen]
    if not targeted:
        raise UserError(
            f"adapter.top={top} leaves nothing to tune: no target is in the last layers. "
            f"Targets are: {listed(sorted(chosen), 5)}."
        )
    return targeted


def top_of(module: nn.Module, k: int, layers: str | None = None, key: str = "top") -> list[str]:
    """Names of the last ``k`` layers, and of what is registered after them.

    ``layers``: dotted name of the list of layers; None takes the longest list there is. Raises
    UserError, about the adapter's ``key``, if there is no such list, or it is shorter.
    """
    lists = {n: m for n, m in module.named_modules() if isinstance(m, nn.ModuleList) and len(m)}
    if not lists:
        raise UserError(f"adapter: {type(module).__name__} has no list of layers to tune.")
    name = layers or max(lists, key=lambda each: len(lists[each]))
    if name not in lists:
        raise UserError(
            f"adapter.layers={name}: {type(module).__name__} has no such list of layers."
            f"{suggest(name, lists)}"
        )
    number = len(lists[name])
    if number < k:
        raise UserError(
            f"adapter.{key}={k}: {type(module).__name__} has {number} layers in '{name}'."
        )
    return [*(f"{name}.{each}" for each in range(number - k, number)), *after(module, name)]


def after(module: nn.Module, name: str) -> list[str]:
    """Names of the modules registered after the one called ``name``, at each level above it.

    They are taken to be used after it. A table of embeddings among them is not (the distances
    between places, which every layer of MPNet and DeBERTa reads), nor is what stands beside it.
    """
    found: list[str] = []
    here, prefix = module, ""
    for step in name.split("."):
        children = dict(here.named_children())
        later = [*children][[*children].index(step) + 1 :]
        if not any(isinstance(children[child], nn.Embedding) for child in later):
            found += [prefix + child for child in later]
        here, prefix = children[step], f"{prefix}{step}."
    return found


def within(names: Iterable[str], modules: Sequence[str]) -> list[str]:
    """Those of the dotted names that are one of ``modules``, or lie in one."""
    return [name for name in names if any(f"{name}.".startswith(f"{m}.") for m in modules)]


def replace(module: nn.Module, name: str, by: nn.Module) -> None:
    """Put ``by`` where ``name`` is in ``module``."""
    parent, _, last = name.rpartition(".")
    setattr(module.get_submodule(parent), last, by)


def _default(
    module: nn.Module, default: Callable[[Family], tuple[str, ...]], key: str
) -> tuple[str, ...]:
    names = _linear(module)
    for family in FAMILIES:
        if all(_found(names, end) for end in default(family)):
            return default(family)
    raise UserError(
        f"adapter.{key}=null takes the linear maps that an architecture is known for, and "
        f"{type(module).__name__} has them by other names: say adapter.{key}=[…]. "
        f"There are: {listed(_ends(names), 30) or 'none'}."
    )


def _linear(module: nn.Module) -> list[str]:
    return [name for name, each in module.named_modules() if outputs_of(each) is not None]


def _found(names: list[str], end: str) -> set[str]:
    pattern = re.compile(r"(.*\.)?" + re.escape(end).replace(r"\*", r"[^.]+"))
    return {name for name in names if pattern.fullmatch(name)}


def _ends(names: list[str]) -> list[str]:
    return list(dict.fromkeys(name.rpartition(".")[2] for name in names))
