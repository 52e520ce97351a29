"""Back-translation: texts translated by one model and back by another, once, and kept.

Sennrich, Haddow and Birch, Improving Neural Machine Translation Models with Monolingual Data, ACL
2016, arXiv:1511.06709. The models are any for sequences to sequences of transformers, such as the
Marian models of Opus-MT.
"""

from pathlib import Path
from typing import Any

import polars as pl
import torch
from rich.progress import track

from lightning_rec.data.kept import kept
from lightning_rec.errors import UserError
from lightning_rec.files import sha256_json
from lightning_rec.language.hub import find_model, fingerprint
from lightning_rec.language.load import read_silently, refuse_elsewhere, refuse_lost
from lightning_rec.screen import Screen

LONGEST = 128  # tokens of a text
_AT_ONCE = 32  # texts


def translated(texts: list[str], models: tuple[str, str], cache: Path) -> list[str]:
    """Texts as they come back; one that comes back empty stays. Kept below ``cache/texts``, by the
    hashes of texts and models. Raises UserError if a model is not to be had, or does not translate.
    """
    folders = [find_model(name, "translation model") for name in models]
    key = sha256_json([texts, *map(fingerprint, folders), LONGEST])[:24]

    def make(folder: Path) -> None:
        back = texts
        for source in folders:
            back = _translate(back, source)
        told = [new or old for new, old in zip(back, texts, strict=True)]
        pl.DataFrame({"text": told}).write_parquet(folder / "texts.parquet")

    folder = kept(cache / "texts" / f"translated-{key}", make)
    return pl.read_parquet(folder / "texts.parquet", glob=False)["text"].to_list()


def _translate(texts: list[str], folder: Path) -> list[str]:
    """Texts in the other language, as the model says by itself; those of like length together."""
    model, tokenizer = _loaded(folder)
    order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
    made = [""] * len(texts)
    blocks = [order[start : start + _AT_ONCE] for start in range(0, len(order), _AT_ONCE)]
    for block in track(
        blocks, f"Translating {len(texts):,} texts", **Screen(stderr=True).transient
    ):
        some = [texts[at] for at in block]
        how = {"return_tensors": "pt", "padding": True, "truncation": True, "max_length": LONGEST}
        read = tokenizer(some, return_token_type_ids=False, **how)
        with torch.no_grad():
            said = model.generate(**read, do_sample=False, max_new_tokens=LONGEST)
        told = tokenizer.batch_decode(said, skip_special_tokens=True)
        for at, text in zip(block, told, strict=True):
            made[at] = text.strip()
    return made


def _loaded(folder: Path) -> tuple[Any, Any]:
    refuse_elsewhere(folder)

    def read(transformers: Any, safe: dict[str, Any]) -> tuple[Any, Any, Any]:
        auto = transformers.AutoModelForSeq2SeqLM
        how = {"use_safetensors": True, "dtype": torch.float32, "output_loading_info": True}
        model, told = auto.from_pretrained(folder, **how, **safe)
        return model, transformers.AutoTokenizer.from_pretrained(folder, **safe), told

    model, tokenizer, told = read_silently(folder, read, "translation model")
    refuse_lost(sorted(told["missing_keys"]), folder)
    if tokenizer.pad_token_id is None:
        raise UserError(f"The tokenizer in {folder} has no token that fills up (pad_token).")
    return model.eval(), tokenizer
