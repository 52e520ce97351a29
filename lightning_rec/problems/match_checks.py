"""What of a config of matching does not go together, beyond what its parts declare."""

from typing import Any

from omegaconf import DictConfig
from torch import nn

from lightning_rec import config
from lightning_rec.errors import UserError
from lightning_rec.figures import declared, parse
from lightning_rec.models.text.matcher import CatalogueScorer
from lightning_rec.runs.folder import RunFolder


def check_monitor(cfg: DictConfig, source: Any, protocol: Any) -> None:
    """Raise UserError if what is monitored needs judgements that the data has not."""
    figure = declared(cfg.get("metrics")).get(parse(cfg.monitor).figure)
    judged = figure is not None and figure.section in ("judged", "pairs")
    if not source.graded and protocol.validates and judged:
        raise UserError(
            f"data.relevance is not set, so that every pair of {source.name} is a relevant one: "
            f"monitor={cfg.monitor} says nothing. Say 'task.ranked=[val,test]' "
            "monitor=val/ndcg@10."
        )


def check_negatives(node: dict[str, Any] | None, model: nn.Module) -> None:
    """Raise UserError where hard negatives are found by what cannot rank the catalogue."""
    if not node:
        return
    config.check("negatives", node)
    if by := node.get("by"):
        config.expect("negatives.by", by, CatalogueScorer)
        config.check("negatives.by", by)
    elif not isinstance(model, CatalogueScorer):
        raise UserError(
            f"negatives=self has {type(model).__name__} rank the catalogue, which it cannot: say "
            "negatives=bm25."
        )


def same_data(run: RunFolder, data_hash: str, protocol_hash: str) -> None:
    """Raise UserError unless a run was made of these very data under this very protocol."""
    for name, value in (("data_hash", data_hash), ("protocol_hash", protocol_hash)):
        if run.card.get(name) != value:
            raise UserError(
                f"model.first={run.path} has another {name} than this run, so that it "
                "may have been trained on what is tested here: train one on the same data under "
                "the same protocol."
            )
