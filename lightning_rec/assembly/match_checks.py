"""What of a config of matching does not go together, told before anything is read or trained."""

from typing import Any

from omegaconf import DictConfig
from torch import nn

from lightning_rec import config
from lightning_rec.data.matching.splits import ByQuery
from lightning_rec.errors import UserError
from lightning_rec.figures import declared, parse
from lightning_rec.losses.matching import MatchLoss, RelevanceBCE
from lightning_rec.models.text.matcher import CatalogueScorer, TextScorer
from lightning_rec.runs.folder import RunFolder


def check_model(cfg: DictConfig) -> None:
    """Raise UserError unless the model is one of matching, and nothing is set that it takes not."""
    wanted = config.target("model", config.plain(cfg.model))
    if not (isinstance(wanted, type) and issubclass(wanted, TextScorer)):
        raise UserError(
            f"{getattr(wanted, '__name__', wanted)} is no model of matching, which "
            "task=match needs: say model=bi_encoder, cross_encoder or bm25; each brings the task "
            "along."
        )
    for node in ("objective", "item"):
        if (cfg.get(node) or {}).get("_target_"):
            raise UserError(f"task=match takes no {node}: drop {node}=, or say '~{node}'.")


def check_data(cfg: DictConfig, source: Any, protocol: Any) -> None:
    """Raise UserError where data or protocol are of another problem, or judgements are missing."""
    if not hasattr(source, "positive_from"):
        raise UserError(
            f"data={source.name} holds no pairs of a query and an item, which task=match needs: "
            "say data=home_depot, or data=pairs for a table of your own."
        )
    if not isinstance(protocol, ByQuery):
        raise UserError(
            f"protocol={protocol.name} splits no queries, but task=match takes one that does: "
            "protocol=by_query."
        )
    if source.graded:
        return
    why = f"data.relevance is not set, so that every pair of {source.name} is a relevant one"
    loss = config.target("loss", config.plain(cfg.loss)) if cfg.get("loss") else None
    if loss is not None and not getattr(loss, "positives", True):
        raise UserError(
            f"{why}: {loss.__name__} has nothing to learn from it. Say data.relevance=COLUMN, or "
            "model=bi_encoder, which learns from relevant pairs alone."
        )
    figure = declared(cfg.get("metrics")).get(parse(cfg.monitor).figure)
    if protocol.validates and figure is not None and figure.section in ("judged", "pairs"):
        raise UserError(
            f"{why}: monitor={cfg.monitor} says nothing. Say 'task.ranked=[val,test]' "
            "monitor=val/ndcg@10."
        )


def check_loss(cfg: DictConfig, meta: nn.Module) -> None:
    """Raise UserError where model, loss and hard negatives do not go together."""
    name, moves = type(meta).__name__, bool(list(meta.parameters()))
    if not cfg.get("loss"):
        if moves:
            raise UserError(
                f"{name} needs a loss: loss=info_nce (of a bi-encoder), relevance_bce or "
                "relevance_mse."
            )
    else:
        settings = config.plain(cfg.loss)
        config.check("loss", settings)
        loss = config.target("loss", settings)
        if not (isinstance(loss, type) and issubclass(loss, MatchLoss)):
            raise UserError(
                f"loss: {loss.__name__} is none of matching: say loss=info_nce, relevance_bce or "
                "relevance_mse."
            )
        if not moves:
            raise UserError(f"{name} is fitted to texts and takes no loss: drop loss=.")
        if loss is RelevanceBCE and cfg.model.get("normalize"):
            raise UserError(
                f"loss=relevance_bce: the cosine of {name} is no logit, which has to go beyond 1: "
                "say model.normalize=false, loss=relevance_mse, or loss=info_nce."
            )
        if not isinstance(meta, loss.takes):
            raise UserError(
                f"{name} cannot learn by {loss.__name__}, which is for {loss.takes.__name__}: say "
                "loss=relevance_bce or relevance_mse."
            )
    _check_negatives(cfg, meta)


def same_data(run: RunFolder, data_hash: str, protocol_hash: str) -> None:
    """Raise UserError unless a run was made of these very data under this very protocol."""
    for name, value in (("data_hash", data_hash), ("protocol_hash", protocol_hash)):
        if run.card.get(name) != value:
            raise UserError(
                f"model.first={run.path} has another {name} than this run, so that it "
                "may have been trained on what is tested here: train one on the same data under "
                "the same protocol."
            )


def _check_negatives(cfg: DictConfig, meta: nn.Module) -> None:
    node, name = config.plain(cfg.get("negatives")), type(meta).__name__
    if not node:
        return
    config.check("negatives", node)
    if by := node.get("by"):
        config.expect("negatives.by", by, CatalogueScorer)
        config.check("negatives.by", by)
    if not cfg.get("loss"):
        raise UserError(f"{name} is not trained, and takes no negatives: drop negatives=.")
    if not node.get("by") and not isinstance(meta, CatalogueScorer):
        raise UserError(
            f"negatives=self has {name} rank the catalogue, which it cannot: say negatives=bm25."
        )
