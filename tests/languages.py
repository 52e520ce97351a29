"""Tiny language models with tokenizers of their own, as folders: built, never fetched."""

from pathlib import Path
from typing import Any

WORDS = [
    "red",
    "green",
    "blue",
    "round",
    "square",
    "small",
    "large",
    "soft",
    "hard",
    "old",
    "new",
    "warm",
    "cold",
    "sweet",
    "bitter",
    "light",
    "dark",
    "heavy",
    "quick",
    "slow",
    "item",
    "lamp",
    "chair",
    "table",
    "angle",
    "bracket",
    "door",
    "wood",
    "steel",
    "paint",
    "yes",
    "no",
    "liked",
    "did",
    "the",
    "user",
    "a",
    "of",
    "and",
    "is",
]


def language(
    kind: str,
    folder: Path,
    depth: int = 3,
    width: int = 16,
    more: str = "",
    places: int = 64,
    *,
    tied: bool = True,
) -> Path:
    """A random ``bert``, ``gpt2`` or ``llama`` over ``WORDS`` in ``folder``, as save_pretrained writes it, and over ``more`` words."""
    import torch
    import transformers

    tokenizer = _tokenizer(kind, [*WORDS, *more.split()])
    settings: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
    }
    if kind == "gpt2":
        end = tokenizer.eos_token_id
        settings |= {"n_embd": width, "n_layer": depth, "n_head": 2, "n_positions": places, "bos_token_id": end, "eos_token_id": end}  # fmt: skip
    elif kind == "llama":
        end = tokenizer.eos_token_id
        settings |= {"hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 32, "max_position_embeddings": places, "bos_token_id": end, "eos_token_id": end, "tie_word_embeddings": tied}  # fmt: skip
    else:
        settings |= {"hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 64}  # fmt: skip
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind, initializer_range=0.3, **settings)
    made: Any = transformers.AutoModelForCausalLM if kind == "llama" else transformers.AutoModel
    made.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(kind: str, words: list[str]) -> Any:
    import transformers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    causal = kind in ("gpt2", "llama")
    special = ["<pad>", "<unk>", "<end>"] if causal else ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]  # fmt: skip
    made = Tokenizer(
        models.WordLevel(
            {word: i for i, word in enumerate([*special, *words])}, unk_token=special[1]
        )
    )
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"pad_token": special[0], "unk_token": special[1]}
    if causal:
        names |= {"eos_token": "<end>", "bos_token": "<end>"}
    else:
        made.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
        )
        names |= {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, **names)


def with_tiny(composed: Any, bert: Path, gpt: Path) -> list[str]:
    """Overrides that let a composed config read with tiny models, and only titles."""
    found = []
    if "encoder" in (composed.get("item") or {}):
        found += [f"item.encoder={bert}", "item.template='{title}'"]
    if "test_prompt" in composed.model:
        found += [f"model.encoder={gpt}", "model.prompts=['{history}']", "model.frame='{instruction} is'", "adapter.targets=[c_attn]", "batches.max_len=5"]  # fmt: skip
    elif "prompt" in composed.model:
        found += [f"model.encoder={gpt}", "model.prompt='{history} and {item}'", "model.max_tokens=60", "model.yes_word=yes", "model.no_word=no", "adapter.targets=[c_attn]"]  # fmt: skip
    elif "template" in composed.model:
        found += [f"model.encoder={bert}", "model.template='{title}'"]
    return found
