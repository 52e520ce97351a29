"""Metrics of clicks: of each goal, by slices of the test, and how well probabilities fit."""

from collections.abc import Iterable, Mapping

import numpy as np
import polars as pl
import torch
from omegaconf import DictConfig

from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.pipeline import AuditedClicks
from lightning_rec.errors import listed
from lightning_rec.figures import parse, parsed
from lightning_rec.metrics.classification import reliability
from lightning_rec.metrics.clicks import BINS, CUTOFFS, ClickMetrics, Predictions
from lightning_rec.metrics.measure import Measure, names_of
from lightning_rec.metrics.slices import PAST_FROM, cut, slices_of_field
from lightning_rec.monitoring.rows import kept_rows
from lightning_rec.tasks.click import ClickSteps, after_names

VALUES = 12  # most categories of a field by which figures are cut, each by itself
_ROUNDING = 1e-4  # above 1, of a normalized entropy: the rate of the test is not known to a model


def metrics_of(
    loaded: AuditedClicks, names: tuple[str, ...], measured: tuple[Measure, ...]
) -> dict[str, dict[str, ClickMetrics]]:
    """The metrics of each stage and goal; the test, which is made once, by slices of ``names``."""
    encoded, goals = loaded.data.encoded, loaded.data.encoded.schema.goals
    made = {}
    for stage in ("val", "test"):
        rows = np.asarray(encoded.part(stage))
        group = None if encoded.group is None else torch.from_numpy(encoded.group[rows])
        labels = torch.from_numpy(encoded.label[rows]).reshape(-1, len(goals)).unbind(dim=1)
        slices = click_slices(loaded, names) if stage == "test" else None
        made[stage] = {
            goal: ClickMetrics(label, group, slices, measured)
            for goal, label in zip(goals, labels, strict=True)
        }
    return made


def known_figures(
    goals: tuple[str, ...], sequential: bool, measured: tuple[Measure, ...]
) -> list[str]:
    """Names of what validation measures; ``sequential``: each goal given the one before, too."""
    names = [*goals, *(after_names(goals) if sequential else ())]
    prefixes = [f"{name}/" for name in names] if len(goals) > 1 else [""]
    return [
        f"val/{prefix}{figure}" for prefix in prefixes for figure in names_of(measured, CUTOFFS)
    ]


def rows_of(steps: ClickSteps, loaded: AuditedClicks) -> pl.DataFrame:
    """A row per row of the test: labels, probabilities, and values of the user's own metrics."""
    found = steps.predictions["test"]
    example = next(iter(found.values())).example.cpu().numpy()
    columns = {"row": np.asarray(loaded.data.encoded.test)[example]}
    for goal, of in found.items():
        suffix = f"_{goal}" if len(found) > 1 else ""
        columns[f"label{suffix}"] = of.label.cpu().numpy().astype(np.int8)
        columns[f"probability{suffix}"] = of.probability.cpu().numpy()
        own = steps.metrics[f"test {goal}"].per_row(of, steps.threshold[goal])
        columns |= {f"{name}{suffix}": values.cpu().numpy() for name, values in own.items()}
    return pl.DataFrame(columns)


def watched_of(tested: pl.DataFrame, loaded: AuditedClicks, fields: Fields) -> pl.DataFrame:
    """What `monitor` compares with: distributions of the test; ``tested``: of :func:`rows_of`."""
    scores = tested["probability"].to_numpy() if "probability" in tested.columns else None
    processor, table = loaded.data.encoded.processor(fields), loaded.data.table
    return kept_rows(table.rows, tested["row"].to_numpy(), scores, processor)


def bins_of(goal: str, found: Predictions) -> pl.DataFrame:
    """Predicted probabilities of a goal and observed rates, by bins of equal width."""
    found_bins = reliability(found.probability.cpu(), found.label.cpu(), BINS)
    return pl.DataFrame(
        {
            "goal": goal,
            "from": np.arange(BINS) / BINS,
            "rows": found_bins.rows.long().numpy(),
            "predicted": found_bins.predicted.numpy(),
            "rate": found_bins.rate.numpy(),
        }
    )


def worse_than_base(
    figures: Mapping[str, float], cfg: DictConfig, *, trained: bool, validates: bool
) -> list[str]:
    """A sentence for each goal whose test logloss is above that of the rate of its rows.

    What to do names what this config has: a model is ``trained`` or fitted at once, and the
    protocol ``validates`` or not.
    """
    starts = [
        str(part._replace(figure=""))
        for name, part in parsed(figures).items()
        if (part.model, part.stage, part.figure) == ("", "test", "normalized_entropy")
        if figures[name] > 1 + _ROUNDING
    ]
    knobs = ["task.embedding_l2", "task.l2"] if trained else []
    knobs += [f"model.{key}" for key in ("dropout", "C", "l2", "strength") if key in cfg.model]
    ways = [f"shrink the weights ({listed(knobs)})"] if knobs else []
    if trained:
        ways.append("train for longer where the loss still falls")
    if validates and cfg.task.get("calibrate", "none") == "none":
        ways.append("say task.calibrate=temperature")
    if validates and trained and parse(cfg.monitor).figure != "logloss":
        ways.append("choose the weights by monitor=val/{}logloss")
    remedy = f" What may help: {', or '.join(ways)}." if ways else ""
    return [
        f"{start}logloss={figures[f'{start}logloss']:.4f} is above "
        f"{figures[f'{start}logloss_base']:.4f}, what saying the base rate, "
        f"{figures[f'{start}rate']:.1%}, of every row would have: the order may be good (auc), the "
        f"probabilities are not.{remedy.format(start.removeprefix('test/'))}"
        for start in starts
    ]


def words_of_slices(name: str, known: pl.DataFrame) -> pl.DataFrame:
    """``id``, and what the slice by a category of a field is called: ``plan_is_plus``, of the empty
    one ``plan_is_empty``; where signs that are none of a word are all that differs, with a number.
    """
    plain = pl.col("value").str.replace_all(r"\W+", "_").str.strip_chars("_")
    plain = pl.when(plain == "").then(pl.lit("signs")).otherwise(plain.fill_null("empty"))
    named = known.sort("id").select("id", word=pl.format("{}_is_{}", pl.lit(name), plain))
    place = pl.int_range(pl.len()).over("word")
    more = pl.format("{}_{}", "word", place + 1)
    return named.with_columns(word=pl.when(place == 0).then("word").otherwise(more))


def click_slices(loaded: AuditedClicks, names: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """The slices of the test by how often training has a row's category, by the category itself
    where a field has few, and by the row's history.
    """
    encoded = loaded.data.encoded
    slices: dict[str, torch.Tensor] = {}
    for name in names:
        column = encoded.schema.place(name)  # categories have one column each, and come first
        field = encoded.schema.fields[column]
        known = encoded.vocabulary.filter(pl.col("field") == name)
        counts = np.zeros(field.size, dtype=np.int64)
        counts[known["id"].to_numpy() - field.start] = known["count"].to_numpy()
        seen = counts[encoded.ids[np.asarray(encoded.test), column] - field.start]
        slices |= slices_of_field(name, torch.from_numpy(seen))
        if len(known) <= VALUES:
            shown = encoded.ids[np.asarray(encoded.test), column]
            for row, word in words_of_slices(name, known).iter_rows():
                slices[word] = torch.from_numpy(shown == row)
    if encoded.past is not None:
        test = np.asarray(encoded.test)
        length = torch.from_numpy(encoded.past.end[test] - encoded.past.start[test])
        slices |= cut("history", length, PAST_FROM)
    return slices


HARDLY = 0.52  # AUC up to which a baseline is hardly better than chance


def rela_impr(
    areas: Iterable[str], figures: Mapping[str, float], baseline: Mapping[str, float]
) -> dict[str, float]:
    """(AUC - 0.5) / (AUC of the baseline - 0.5) - 1, by the name of each AUC.

    A baseline that is hardly better than chance is nothing to be better than: it is left out.
    """
    return {
        str(parse(name)._replace(figure="rela_impr")): (figures[name] - 0.5)
        / (baseline[name] - 0.5)
        - 1
        for name in areas
        if name in figures and baseline.get(name, 0.0) > HARDLY
    }
