"""Whether the parts of matching go together, as far as it takes no data to tell."""

from typing import Any

from omegaconf import DictConfig
from torch import nn

from lightning_rec import config
from lightning_rec.errors import UserError
from lightning_rec.figures import declared, parse
from lightning_rec.language.augment.texts import Augmentation
from lightning_rec.models.text.matcher import CatalogueScorer, LanguageScorer


def check_monitor(cfg: DictConfig, source: Any, protocol: Any) -> None:
    """Raise UserError if what is monitored needs judgements that the data has not."""
    figure = declared(cfg.get("metrics")).get(parse(cfg.monitor).figure)
    judged = figure is not None and figure.section in ("judged", "pairs")
    if not source.graded and protocol.validates and judged:
        raise UserError(
            f"Every pair of {source.name} is a relevant one, since no judgements are read, which "
            f"data.relevance names in pairs of your own: monitor={cfg.monitor} says nothing. Say "
            "'task.ranked=[val,test]' monitor=val/ndcg@10."
        )


def check_negatives(node: dict[str, Any] | None, model: nn.Module) -> None:
    """Raise UserError where hard negatives are found by what cannot rank the catalogue."""
    if not node:
        return
    config.check("negatives", node)
    if by := node.get("by"):
        config.expect("negatives.by", by, CatalogueScorer)
        config.check("negatives.by", by)
    elif "by" in node and not isinstance(model, CatalogueScorer):
        raise UserError(
            f"negatives=self has {type(model).__name__} rank the catalogue, which it cannot: say "
            "negatives=bm25."
        )


def check_augment(augment: Augmentation | None, model: nn.Module, loss: Any) -> None:
    """Raise UserError where texts are to be changed for a model that learns from none."""
    if augment is not None and (not isinstance(model, LanguageScorer) or loss is None):
        raise UserError(
            f"augment changes texts that are learnt from, and {type(model).__name__} learns from "
            "none: leave augment= out, or say model=bi_encoder, cross_encoder."
        )
