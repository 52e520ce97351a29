"""Load a pretrained language model and its tokenizer from a folder."""

import logging
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch

from lightning_rec.documents import leaves, read_json, read_text
from lightning_rec.errors import Quoting, UserError, listed
from lightning_rec.files import write_json
from lightning_rec.language.encoder import Pooling, TextEncoder
from lightning_rec.language.hub import find_model, fingerprint, library
from lightning_rec.language.words import WordModel, Words

log = logging.getLogger(__name__)

POOLING = Path("1_Pooling") / "config.json"  # where sentence-transformers notes it
MODULES = "modules.json"  # where it notes what comes after one another
_NOTED: dict[str, Pooling] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
    "pooling_mode_mean_tokens": "mean",
}
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "*.tiktoken")
_HEADS = {
    "masked": ("AutoModelForMaskedLM", "MODEL_FOR_MASKED_LM_MAPPING_NAMES", "hidden words"),
    "causal": ("AutoModelForCausalLM", "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES", "next words"),
}


class Language(NamedTuple):
    """A pretrained language model, its tokenizer, and a hash of what decides its vectors."""

    encoder: TextEncoder
    tokenizer: Any
    fingerprint: str


def load_language(
    folder: Path,
    pooling: Pooling | None = None,
    normalize: bool = True,
    meta: bool = False,
    whole: bool = False,
) -> Language:
    """Load a language model without its head, and its tokenizer, from safetensors alone.

    ``pooling``: None takes what the model was trained with, as far as its folder says so, and else
    the mean, or the last token of a causal model. ``normalize``: make each vector of length 1.
    ``meta``: leave the weights out: the model takes no memory and computes nothing. ``whole``: the
    folder was written by us, and has no weights besides.

    Raises UserError if it cannot be read or lacks weights, its tokenizer does not fit it, or it was
    trained with another pooling than those here.
    """
    model, tokenizer, told = _loaded("AutoModel", folder, meta)
    refuse_lost([name for name in told.fresh if not name.startswith("pooler.")], folder)
    if whole:
        _refuse_unused(told.unused, folder)
    encoder = TextEncoder(model, pooling or _pooling(folder, model), normalize)
    modules = folder / MODULES
    if modules.is_file() and "models.Dense" in read_text(modules):
        log.warning("%s: the linear map after the pooling (%s) is left out.", folder, MODULES)
    return Language(encoder, tokenizer, "" if meta else fingerprint(folder))


def load_words(
    folder: Path, head: Literal["masked", "causal"], meta: bool = False, whole: bool = False
) -> Words:
    """Load a language model with its head over words, and its tokenizer, from safetensors alone.

    ``head``: for ``masked`` words, made anew where it is missing, or for the next one (``causal``).
    ``meta`` leaves the weights out; ``whole``: see :func:`load_language`. Raises UserError if it
    cannot be read, lacks weights, has no such head, or its tokenizer does not fit it.
    """
    kind, names, said = _HEADS[head]
    kinds = getattr(library("transformers.models.auto.modeling_auto"), names)
    settings = read_silently(
        folder, lambda found, safe: found.AutoConfig.from_pretrained(folder, **safe)
    )
    # Encoders that can be made causal, such as BERT, are among the causal ones too.
    made_causal = getattr(settings, "is_decoder", False) or not _reads_both_ways(settings)
    if settings.model_type not in kinds or (head == "causal" and not made_causal):
        raise UserError(
            f"The language model in {folder} is a {settings.model_type}, which says no {said}: "
            f"take one such as {'BERT or RoBERTa' if head == 'masked' else 'GPT-2 or Qwen3'}."
        )
    model, tokenizer, (fresh, unused) = _loaded(kind, folder, meta)
    if whole:
        _refuse_unused(unused, folder)
    body = f"{model.base_model_prefix}."
    refuse_lost([name for name in fresh if name.startswith(body)], folder)
    if fresh and head == "causal":
        raise UserError(
            f"The language model in {folder} came without its head over words: take the whole one."
        )
    if fresh:
        log.warning("%s came without its head for hidden words: it starts anew.", folder)
    if head == "masked" and tokenizer.mask_token_id is None:
        raise UserError(f"The tokenizer in {folder} has no token for hidden words (mask_token).")
    return Words(WordModel(model), tokenizer)


def words_loader(*, meta: bool) -> Any:
    """What finds a language model with its head by its name; without weights if ``meta``."""
    return lambda name, head: load_words(find_model(name), head, meta)


def language_loader(*, meta: bool) -> Any:
    """What finds a language model without its head by its name; without weights if ``meta``."""
    return lambda name, pooling, normalize: load_language(
        find_model(name), pooling, normalize, meta
    )


def note_pooling(folder: Path, began: Path, pooling: Pooling | None = None) -> None:
    """Note in ``folder`` how states become a vector, as sentence-transformers does; None notes what
    ``began`` has noted.
    """
    if pooling is None and not (began / POOLING).is_file():
        return
    (folder / POOLING.parent).mkdir()
    if pooling is None:
        shutil.copy(began / POOLING, folder / POOLING)
    else:
        write_json(folder / POOLING, {key: way == pooling for key, way in _NOTED.items()})


def refuse_elsewhere(folder: Path) -> None:
    """Raise UserError if a folder of transformers names code to fetch, or files outside of it."""
    path = folder / "config.json"
    for key, value in leaves(read_json(path)):
        if "_implementation" in key and "/" in str(value):  # transformers would fetch a kernel
            told = f"{path}: {key}={value} would fetch code and run it: remove the key."
            raise Quoting(told, folder)
    for index in folder.glob("*.index.json"):  # names the files of a model in parts
        for key, value in leaves(read_json(index)):
            if key.startswith("weight_map") and Path(str(value)).name != value:
                raise Quoting(f"{index}: {value} lies elsewhere, and is not read.", folder)


def refuse_lost(names: list[str], folder: Path) -> None:
    """Raise UserError if weights are not there: they would be drawn at random."""
    if names:
        raise UserError(
            f"{folder} lacks {len(names)} weights of its model, such as {listed(names, 3)}: take "
            "the files that belong to its config.json."
        )


def _refuse_unused(names: list[str], folder: Path) -> None:
    """Raise UserError if there are weights that the model has no place for."""
    if names:
        raise UserError(
            f"{folder} holds {len(names)} weights that its model has no place for, such as "
            f"{listed(names, 3)}: its config.json is of another model. Export it again."
        )


class _Told(NamedTuple):
    """Names of weights that a folder lacks, and that it has besides."""

    fresh: list[str]
    unused: list[str]


def read_silently(folder: Path, what: Any, kind: str = "language model") -> Any:
    """What transformers reads from a folder, silently. Raises UserError if it cannot."""
    transformers = library("transformers")
    quiet = transformers.utils.logging
    before = quiet.get_verbosity()
    quiet.set_verbosity_error()  # heads that are left out are no news
    quiet.disable_progress_bar()
    try:
        return what(transformers, {"local_files_only": True, "trust_remote_code": False})
    except Exception as error:  # of many kinds: what is missing, broken, or of another version
        reason = " ".join(str(error).split())[:300]
        raise Quoting(f"The {kind} in {folder} cannot be read: {reason}", folder) from error
    finally:
        quiet.set_verbosity(before)


def _loaded(kind: str, folder: Path, meta: bool) -> tuple[Any, Any, _Told]:
    """The model, its tokenizer, and what is told of its weights."""

    def read(transformers: Any, safe: dict[str, Any]) -> tuple[Any, Any, _Told]:
        auto, weights = getattr(transformers, kind), _Told([], [])
        if not any(path for pattern in _VOCABULARIES for path in folder.glob(pattern)):
            raise FileNotFoundError(f"no tokenizer: one of {listed(list(_VOCABULARIES))} is wanted")
        if meta:
            with torch.device("meta"):
                settings = transformers.AutoConfig.from_pretrained(folder, **safe)
                model = auto.from_config(settings)
        else:
            how = {"use_safetensors": True, "dtype": torch.float32, "output_loading_info": True}
            model, told = auto.from_pretrained(folder, **how, **safe)
            weights = _Told(sorted(told["missing_keys"]), sorted(told["unexpected_keys"]))
        return model, transformers.AutoTokenizer.from_pretrained(folder, **safe), weights

    refuse_elsewhere(folder)
    if not meta:
        log.info("language model: reading %s", folder)
    model, tokenizer, told = read_silently(folder, read)
    if kind == "AutoModel" and getattr(model.config, "is_encoder_decoder", False):
        model = model.get_encoder()
    if kind == "AutoModel" and getattr(model, "pooler", None) is not None:
        model.pooler = None  # a map over the first token that no vector here is made of
    if kind != "AutoModelForMaskedLM" and hasattr(model.config, "use_cache"):
        model.config.use_cache = False  # nothing is written on here: each text is read once
    if tokenizer.pad_token_id is None:  # what fills up is masked, so any word will do
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.mask_token_id is None and _reads_both_ways(model.config):
        raise UserError(
            f"{folder}: its model was trained on hidden words, but its tokenizer has no token for "
            "them (mask_token): they do not belong together."
        )
    words, known = len(tokenizer), model.get_input_embeddings().num_embeddings
    if words > known:
        raise UserError(
            f"{folder}: its tokenizer has {words:,} words and its model knows {known:,} of them: "
            "they do not belong together."
        )
    return model, tokenizer, told


def _pooling(folder: Path, model: Any) -> Pooling:
    """What sentence-transformers noted, or what suits the architecture."""
    noted = folder / POOLING
    if noted.is_file():
        settings = leaves(read_json(noted))
        chosen = [key for key, on in settings if key.startswith("pooling_mode_") and on]
        if len(chosen) != 1 or chosen[0] not in _NOTED:
            raise Quoting(
                f"{noted} asks for {listed(chosen) or 'no pooling'}, which is not built: say which "
                f"of {listed(list(get_args(Pooling)))} is to stand for it, as in item.pooling=mean "
                "or model.pooling=mean.",
                folder,
            )
        return _NOTED[chosen[0]]
    auto = import_module("transformers.models.auto.modeling_auto")
    causal = model.config.model_type in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    return "last" if causal and not _reads_both_ways(model.config) else "mean"


def _reads_both_ways(settings: Any) -> bool:
    """Whether models of this kind were made to see what follows a word as well."""
    auto = import_module("transformers.models.auto.modeling_auto")
    return settings.model_type in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
