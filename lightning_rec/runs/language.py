"""Whether the language model of a run is still the one that it was trained with."""

from omegaconf import DictConfig

from lightning_rec.errors import UserError
from lightning_rec.language.hub import find_model, fingerprint
from lightning_rec.runs.folder import RunFolder


def language_hash(cfg: DictConfig) -> str | None:
    """SHA-256 of the files of a config's language model, if any. Raises UserError without them."""
    item = cfg.get("item") or {}
    for node in (item, *(item.get("parts") or {}).values(), cfg.get("model") or {}):
        if isinstance(name := node.get("encoder"), str):
            return fingerprint(find_model(name))
    return None


def check_language(run: RunFolder, cfg: DictConfig | None = None) -> str | None:
    """The :func:`language_hash` of a run, or ``cfg``. Raises UserError if it has changed."""
    now, then = language_hash(cfg or run.config), run.card.get("language_hash")
    if now and then and now != then:
        raise UserError(
            f"{run.path} was made with another language model than the one that is here now "
            f"({then[:12]}, here {now[:12]}): bring back its files, or train anew."
        )
    return now
