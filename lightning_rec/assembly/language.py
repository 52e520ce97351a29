"""The language model that a config names, ready to read texts."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch

from lightning_rec.data.text.hub import fingerprint, missing_library
from lightning_rec.errors import UserError
from lightning_rec.models.text.encoder import Pooling, TextEncoder

_NOTED: dict[str, Pooling] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
    "pooling_mode_mean_tokens": "mean",
}


class Language(NamedTuple):
    """A pretrained language model.

    encoder: the model and how its states become a vector.
    tokenizer: of transformers.
    fingerprint: of all that decides what it computes.
    """

    encoder: TextEncoder
    tokenizer: Any
    fingerprint: str


def load_language(
    folder: Path, pooling: Pooling | None = None, normalize: bool = True, sketch: bool = False
) -> Language:
    """Load a language model without its head, and its tokenizer, from safetensors alone.

    Args:
        folder: where it lies; see :func:`lightning_rec.data.text.hub.find_model`.
        pooling: how a text becomes one vector; None takes what the model was trained with, as far
            as its folder says so, and else the mean, or the last token of a causal model.
        normalize: make each vector of length 1.
        sketch: leave the weights out: the model takes no memory and computes nothing.

    Raises:
        UserError: if it cannot be read, or its tokenizer does not fit it.
    """
    try:
        transformers = import_module("transformers")
    except ImportError as error:
        raise missing_library("transformers") from error
    model, tokenizer = _loaded(transformers, folder, sketch)
    words, known = len(tokenizer), model.get_input_embeddings().num_embeddings
    if words > known:
        raise UserError(
            f"{folder}: its tokenizer has {words:,} words and its model knows {known:,} of them: "
            "they do not belong together."
        )
    encoder = TextEncoder(model, pooling or _pooling(folder, model), normalize)
    return Language(encoder, tokenizer, "" if sketch else fingerprint(folder))


def _loaded(transformers: Any, folder: Path, sketch: bool) -> tuple[Any, Any]:
    quiet = transformers.utils.logging
    before = quiet.get_verbosity()
    quiet.set_verbosity_error()  # heads that are left out are no news
    quiet.disable_progress_bar()
    try:
        safe = {"local_files_only": True, "trust_remote_code": False}
        if sketch:
            with torch.device("meta"):
                settings = transformers.AutoConfig.from_pretrained(folder, **safe)
                model = transformers.AutoModel.from_config(settings)
        else:
            model = transformers.AutoModel.from_pretrained(folder, use_safetensors=True, **safe)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **safe)
    except Exception as error:  # of many kinds: what is missing, broken, or of another version
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"The language model in {folder} cannot be read: {reason}") from error
    finally:
        quiet.set_verbosity(before)
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # a map over the first token that no vector here is made of
    if tokenizer.pad_token_id is None:  # what fills up is masked, so any word will do
        tokenizer.pad_token = tokenizer.eos_token
    return model, tokenizer


def _pooling(folder: Path, model: Any) -> Pooling:
    """What sentence-transformers noted, or what suits the architecture."""
    noted = folder / "1_Pooling" / "config.json"
    if noted.is_file():
        settings = json.loads(noted.read_text())
        return next((_NOTED[key] for key in _NOTED if settings.get(key)), "mean")
    auto = import_module("transformers.models.auto.modeling_auto")
    # Encoders that can be made causal as well, such as BERT, are in both lists.
    kind = str(model.config.model_type)
    causal = kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    return "last" if causal and kind not in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES else "mean"
