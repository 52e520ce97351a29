"""What a run of clicks of an earlier state of the log knew, beside what is known now.

Rows of the embedding tables are those of a field's values: a value that both know keeps its row,
whatever its number is now. Means, deviations and buckets of numbers stay those of the run, since
its weights were learnt over them.
"""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from pydantic import TypeAdapter

from lightning_rec import config
from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.labels import grouped, longest_return
from lightning_rec.data.clicks.pipeline import AuditedClicks
from lightning_rec.data.clicks.processor import STATISTICS, TABLES, VOCABULARY, FeatureProcessor
from lightning_rec.data.clicks.schema import ClickSchema
from lightning_rec.data.clicks.splits import times
from lightning_rec.data.shares import PARTS
from lightning_rec.data.types import Floats, Ints
from lightning_rec.errors import UserError
from lightning_rec.methods.update import Before, Update
from lightning_rec.models.base import SequenceModel
from lightning_rec.models.clicks.parts import FieldVectors, FittedToClicks
from lightning_rec.models.clicks.tables import OwnTable
from lightning_rec.problems import learnt_rows
from lightning_rec.problems.click_checks import meta_schema
from lightning_rec.problems.sequence_tables import TRAINED
from lightning_rec.problems.updating import FEW, check_alike, check_whitening
from lightning_rec.runs import weights
from lightning_rec.runs.folder import RunFolder

if TYPE_CHECKING:
    from lightning_rec.problems.clicks import Clicks

log = logging.getLogger(__name__)

ALIKE = ("model", "item", "encoder", "adapter")  # parts of the config that decide the weights
LONE, ITEMS = "", "items of histories"  # what a row may be of, beside the values of a field
ROWS = {"part": pl.String, "rows": pl.Int64, "since": pl.Float64, "until": pl.Float64}
Rows = dict[str, tuple[int, float, float]]  # of each part: how many, the first and the last time


def trained_of(loaded: AuditedClicks, fields: Fields) -> pl.DataFrame:
    """Of each part that has rows ``rows``, how many, and ``since``, ``until``: their first and last
    time in the unit of the log, null where it has no times.
    """
    time = None if fields.time is None else times(loaded.data.table, fields)
    told = []
    for part in PARTS:
        at = loaded.data.encoded.part(part)
        if len(at):
            ends = (None, None) if time is None else (float(time[at].min()), float(time[at].max()))
            told.append((part, len(at), *ends))
    return pl.DataFrame(told, schema=ROWS, orient="row")


def rows_of(run: RunFolder) -> Rows:
    """What :func:`trained_of` of a run told, which has a test later than all that it learnt.

    Raises UserError if the run does not say it, or has no such order.
    """
    if not (run.path / f"{TRAINED}.parquet").is_file():
        raise UserError(
            f"{run.path} does not say what it was trained on: it was made by an earlier version. "
            "Train it again."
        )
    table = run.table(TRAINED)
    if dict(table.schema) != ROWS or table.select("part", "rows").null_count().row(0) != (0, 0):
        raise UserError(f"{run.path / TRAINED}.parquet is not as a run writes it: train it again.")
    found: Rows = {part: (rows, since, until) for part, rows, since, until in table.rows()}
    if not {"train", "test"} <= found.keys() <= set(PARTS) or len(found) != len(table):
        raise UserError(f"{run.path / TRAINED}.parquet lacks a part: train it again.")
    ends = [each for part in found.values() for each in part[1:]]
    if None in ends or not found["train"][2] < found["test"][1]:
        raise UserError(
            f"{run.path} was not trained on the earlier rows of its log, so that nothing tells "
            "what is new: train it with data.fields.time=COLUMN protocol=temporal_rows."
        )
    return found


def statistics_of(method: Any) -> pl.DataFrame | None:
    """Means, deviations and buckets of the run that a method goes on from; None for another one."""
    if not isinstance(method, Update):
        return None
    run = RunFolder.open(Path(method.run))
    if not (run.path / "statistics.parquet").is_file():
        raise UserError(f"method.run={method.run} is no run of clicks: it has no statistics.")
    return checked(run)["statistics"]


def checked(run: RunFolder) -> dict[str, pl.DataFrame]:
    """What a run fitted, by table. Raises UserError for columns that are none of them."""
    tables = {name: run.table(name) for name in TABLES}
    for name, schema in (("vocabulary", VOCABULARY), ("statistics", STATISTICS)):
        if dict(tables[name].schema) != schema:
            raise UserError(f"{run.path / name}.parquet has other columns than a run writes.")
    return tables


def before(problem: "Clicks", loaded: AuditedClicks, folder: str) -> Before:
    """What the run in ``folder`` knew. Raises UserError if it is of another model or log."""
    run, fields, encoded = RunFolder.open(Path(folder)), problem.source.fields, loaded.data.encoded
    check_alike(problem.cfg, run, ALIKE)
    check_whitening(problem.cfg)
    apart = {"slices", "weight", "group"}  # what changes no input of a model
    then, now = (
        {key: value for key, value in asdict(each).items() if key not in apart}
        for each in (_fields_of(run), fields)
    )
    if changed := [key for key in now if then[key] != now[key]]:
        raise UserError(
            f"method.run={folder} has another data.fields.{changed[0]} than this run, over which "
            f"its weights were learnt: {then[changed[0]]}, not {now[changed[0]]}."
        )
    if isinstance(problem.meta_model, FittedToClicks):
        raise UserError(
            "method.run: this model is fitted at once and has no weights to go on with: train it "
            "anew."
        )
    if getattr(problem.method, "new", None) == "text":
        raise UserError(
            "method.new=text is for runs of sequences, whose items have a catalogue: say mean or "
            "draw."
        )
    known = FeatureProcessor.of(checked(run), fields)
    codes, there = _codes(known, encoded)
    if fields.item is not None:  # an encoder of histories has no row for what is unknown
        codes[ITEMS], there[ITEMS] = codes[fields.item], there[fields.item]
    counted = [name for name in codes if name not in (LONE, ITEMS, *fields.hash_size)]
    return Before(
        weights.found(run.path),
        layout(problem),
        codes,
        there,
        {f"new {name}": int((codes[name] < 0).sum()) for name in counted},
        old_rows(run, loaded, fields),
        lambda k: np.zeros((0, k), dtype=np.int64),
        tuned=problem.encoder is not None,
    )


def _fields_of(run: RunFolder) -> Fields:
    found: Fields = TypeAdapter(Fields).validate_python(config.plain(run.config.data.fields))
    return found


def _codes(known: FeatureProcessor, now: Encoded) -> tuple[dict[str, Ints], dict[str, int]]:
    """Of each field the place there of each value of now, -1 for a new one, and how many it has."""
    codes: dict[str, Ints] = {LONE: np.zeros(1, dtype=np.int64)}
    there = {LONE: 1}
    for then, field in zip(known.schema.fields, now.schema.fields, strict=True):
        if field.kind == "numeric":
            continue
        there[field.name], name = then.size - 1, pl.col("field") == field.name
        if field.name in known.fields.hash_size:
            codes[field.name] = np.arange(field.size - 1)
            continue
        of_then, of_now = (
            each.filter(name).sort("id").select("value")
            for each in (known.vocabulary, now.vocabulary)
        )
        if len(of_then) != there[field.name]:
            raise UserError(f"vocabulary.parquet does not fit fields.parquet: '{field.name}'.")
        joined = of_now.join(
            of_then.with_row_index("place").unique("value", keep="first"),
            "value", "left", nulls_equal=True, maintain_order="left",
        )  # fmt: skip
        codes[field.name] = joined["place"].cast(pl.Int64).fill_null(-1).to_numpy(writable=True)
    return codes, there


def layout(problem: "Clicks") -> dict[str, tuple[tuple[str, ...], ...]]:
    """With what the dimensions of each weight grow, in the order of its rows; see :class:`Before`.

    Tables of fields say it by their class, models of sequences by being made with one item more,
    and a weight with a row for each of all fields is laid out as the schema says.
    """
    small = meta_schema(problem.source.fields)
    with torch.device("meta"):
        model = problem.make_model(small, meta=True)
        more = problem.make_model(_longer(small), meta=True).state_dict()
    found: dict[str, tuple[tuple[str, ...], ...]] = {}
    for name, module in model.named_modules():
        if isinstance(module, FieldVectors | OwnTable):
            found[f"{name}.table.weight".lstrip(".")] = (_rows(module, small), ())
    encoders = [n for n, module in model.named_modules() if isinstance(module, SequenceModel)]
    for name, weight in model.state_dict().items():
        grows = [there != rows for there, rows in zip(more[name].shape, weight.shape, strict=True)]
        if name in found or not any(grows):
            found.setdefault(name, ((),) * weight.ndim)
        elif any(name.startswith(f"{each}.") for each in encoders):
            found[name] = tuple((ITEMS,) if grown else () for grown in grows)
        else:
            every = (LONE, *_of_fields(small, set()))
            found[name] = tuple(every if grown else () for grown in grows)
            sizes = [rows for rows, grown in zip(weight.shape, grows, strict=True) if grown]
            if set(sizes) != {small.num_rows}:
                raise UserError(
                    f"{name} has a place for values of fields, and does not say of which: train "
                    "this model anew."
                )
    start = "" if problem.calibrate == "none" else "model."  # names as the whole model has them
    start += "" if problem.items is None else "head."
    return {f"{start}{name}": grows for name, grows in found.items()}


def _longer(schema: ClickSchema) -> ClickSchema:
    """The schema with one value more of each field of categories."""
    made, start = [], 1
    for field in schema.fields:
        size = field.size + (field.kind != "numeric")
        made.append(field._replace(start=start, size=size))
        start += size
    return schema._replace(fields=tuple(made))


def _rows(module: FieldVectors | OwnTable, schema: ClickSchema) -> tuple[str, ...]:
    """What the rows of a table are of: none, and then the fields that it holds."""
    if isinstance(module, OwnTable):
        own = {module.start}
        return (LONE, *_of_fields(schema, {f.start for f in schema.fields} - own))
    apart = {own.start for own in module.apart if isinstance(own, OwnTable)}
    if module.item is not None and not module.by_id:
        apart.add(module.item.start)
    return (LONE, *_of_fields(schema, apart))


def _of_fields(schema: ClickSchema, without: set[int]) -> tuple[str, ...]:
    kept = [field for field in schema.fields if field.start not in without]
    return tuple(
        kind for field in kept if field.kind in ("categorical", "multi_valued")
        for kind in (LONE, field.name)
    )  # fmt: skip


def old_rows(run: RunFolder, loaded: AuditedClicks, fields: Fields) -> Ints:
    """Of each training row, 1 if the run has learnt it, else 0: int64. Told by time.

    Raises UserError if a row of the test is among them, or if the rows before are not there.
    """
    learnt, time = rows_of(run), time_of(loaded, fields)
    count, since, until = learnt["train"]
    own = grouped(loaded, fields)
    there = int(((time >= since) & (time <= until) & own).sum())
    if there < FEW * count:
        raise UserError(
            f"method.run={run.path} was trained on {count:,} rows, of whose time this log has "
            f"{there:,}: give the log as it is now with the rows before, not the new ones alone."
        )
    first = since if run.config.protocol.get("since") else -np.inf  # what is older was left out
    if (late := int(((time >= first) & (time <= until) & own).sum()) - count) > 0:
        log.warning(
            "%s rows came late: they are older than the last one that %s was trained on, and count "
            "as learnt.", f"{late:,}", run.path,
        )  # fmt: skip
    check_test(run, loaded, time, until, fields)
    learnt_rows.check_unchanged(run, loaded, fields, time, until)
    return (time[loaded.data.encoded.part("train")] <= until).astype(np.int64)


def check_test(
    run: RunFolder, loaded: AuditedClicks, time: Floats, until: float, fields: Fields
) -> None:
    """Raise UserError if a row of the test is not later than ``until``, and than what labels of
    rows of that time are made of; tell of validation.
    """
    until += longest_return(time, fields)
    for part, told in (("val", "validation"), ("test", "test")):
        at = loaded.data.encoded.part(part)
        old = int((time[at] <= until).sum())
        said = f"{old:,} of {len(at):,} rows of {told} are of the time that {run.path} has learnt"
        if old and part == "test":
            raise UserError(f"{said}: give a log that goes on after it, or a later test.")
        if old:
            log.warning("%s: figures of validation are too good, and choose the epoch.", said)


def time_of(loaded: AuditedClicks, fields: Fields) -> Floats:
    """The time of each row, float64 [N]. Raises UserError where the log has none."""
    if fields.time is None:
        raise UserError(
            "Nothing tells which rows are new: name their times, data.fields.time=COLUMN "
            "protocol=temporal_rows."
        )
    return times(loaded.data.table, fields)
