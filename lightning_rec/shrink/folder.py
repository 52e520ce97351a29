"""A shrunk model in a folder: the ONNX file, what its numbers mean, and the hash of every file.

``shrink.json``        which model it is of, what goes in and comes out, how far it is from it
``model.onnx``         the model
``items.safetensors``  vectors of items, of a model of sequences; ``items.parquet`` says whose
``README.md``          how it is run without this package
"""

import hashlib
import tempfile
from pathlib import Path
from typing import Any, Literal, NamedTuple

import polars as pl
import torch
from torch import Tensor

from lightning_rec.data.batches import gather
from lightning_rec.documents import read_json
from lightning_rec.errors import UserError
from lightning_rec.files import atomic_folder, sha256_file, write_json, write_text
from lightning_rec.language.tokens import Tokenized, Tokens
from lightning_rec.models.base import InnerProduct
from lightning_rec.predict.base import Predictor
from lightning_rec.shrink.compact import compacted
from lightning_rec.shrink.onnx import Session, write_int8, write_onnx
from lightning_rec.shrink.plain import Plain, plain
from lightning_rec.shrink.readme import readme
from lightning_rec.shrink.session import stand_in
from lightning_rec.shrink.tables import ItemTable

FORMAT = 1
MODEL, ITEMS, MANIFEST = "model.onnx", "items.safetensors", "shrink.json"
TRIED = 256  # real inputs on which the file is held against the model

Method = Literal["onnx", "int8"]


class Shrunk(NamedTuple):
    """What was written. bytes: of all files.  apart: the largest difference of an output from that
    of the model, over real inputs, and ``largest`` the largest output.
    """

    folder: Path
    kind: str
    bytes: int
    apart: float
    largest: float


def shrink(predictor: Predictor, to: Path, method: Method, run: str = "") -> Shrunk:
    """Write the model of a predictor to a new folder.

    ``method``: ``onnx`` as it is; ``int8`` with weights, and vectors of items, of a byte for each
    number. ``run``: what is noted of where the model is from.

    Raises UserError where the model cannot be exported, a library is missing, or ``to`` is there.
    """
    if to.exists():
        raise UserError(f"to={to} is there already: name a folder that is not.")
    model: Any = predictor.model  # type: ignore[attr-defined]  # every kind of them has one
    of = plain(compacted(model), getattr(predictor, "objective", None))
    with atomic_folder(to) as made:
        if method == "int8":
            with tempfile.TemporaryDirectory() as whole:
                write_onnx(of, Path(whole) / MODEL)
                write_int8(Path(whole) / MODEL, made / MODEL)
        else:
            write_onnx(of, made / MODEL)
        apart, largest = differences(of, made / MODEL, real_inputs(predictor, of))
        facts = _beside(predictor, model, made, method) | {
            "format": FORMAT, "method": method, "kind": of.kind, "model": predictor.name,
            "run": run, "inputs": list(of.inputs), "output": of.output, "longest": of.longest,
            "apart": apart, "largest": largest, "weights": fingerprint(model),
        }  # fmt: skip
        write_text(made / "README.md", readme(facts))
        names = sorted(path.name for path in made.iterdir())
        files = {name: sha256_file(made / name) for name in names}
        write_json(made / MANIFEST, facts | {"files": files})
        size = sum(path.stat().st_size for path in made.iterdir())
    return Shrunk(to, of.kind, size, apart, largest)


def put_into(holder: Any, folder: Path) -> None:
    """Let a shrunk model compute in place of that of a predictor or a task, which is changed.

    ``holder``: of the run that was shrunk. Raises UserError if the folder is not as it was written,
    or is of another kind of model.
    """
    facts = opened(folder)
    model, kind = holder.model, facts["kind"]
    found = plain(model, getattr(holder, "objective", None)).kind
    if kind != found:
        raise UserError(f"{folder} is of {kind}, and this run of {found}: name the one it is of.")
    if facts.get("weights") != fingerprint(model):
        raise UserError(
            f"{folder} was made of other weights than those of this run, of {facts.get('run')} "
            f"({facts.get('model')}): name the run that it was made of."
        )
    table = ItemTable.load(folder / ITEMS) if kind == "sequences" else None
    with torch.no_grad():
        stand_in(holder, folder / MODEL, table)


def fingerprint(model: torch.nn.Module) -> str:
    """A hash of all weights of a model."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def opened(folder: Path) -> dict[str, Any]:
    """What the manifest of a folder says. Raises UserError if a file is not as it was written."""
    facts = read_json(folder / MANIFEST)
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise UserError(f"{folder / MANIFEST} is not of format {FORMAT}: shrink the run again.")
    files = facts.get("files")
    if not isinstance(files, dict) or MODEL not in files or "kind" not in facts:
        raise UserError(f"{folder / MANIFEST} names no {MODEL} with its SHA-256.")
    for name, digest in files.items():
        path = folder / name
        if Path(name).name != name or not path.is_file() or sha256_file(path) != digest:
            raise UserError(
                f"{folder / name} is missing, or not as it was written: bring it back, or shrink "
                "the run again."
            )
    return facts


@torch.no_grad()
def differences(of: Plain, path: Path, inputs: dict[str, Tensor]) -> tuple[float, float]:
    """The largest difference between file and model over some inputs, and the largest output."""
    expected = of.module.eval()(*(inputs[name] for name in of.inputs))
    found = Session(path)(inputs)
    return float((found - expected).abs().max()), float(expected.abs().max())


def real_inputs(predictor: Any, of: Plain) -> dict[str, Tensor]:
    """At most 256 inputs as the model has met them: histories of users, titles of items.

    A run of clicks keeps no rows: of those each field is drawn among its categories.
    """
    if of.kind == "sequences":
        return {"history": _histories(predictor)}
    if of.kind == "clicks":
        return _rows(predictor.model)
    titles = predictor.catalogue.items["title"].fill_null("unknown").head(TRIED).to_list()
    items: Tokenized = predictor.model.read(titles, item=True)
    tokens = _all(items)
    if of.kind == "pairs":
        queries = predictor.model.read(titles, item=False)
        tokens = predictor.model.joint.write(_all(queries), tokens)
    given = {"ids": tokens.ids, "mask": tokens.mask.long()}
    return given | ({} if tokens.kinds is None else {"kinds": tokens.kinds})


def _all(tokens: Tokenized) -> Tokens:
    return tokens.take(torch.arange(len(tokens)).numpy())


def _histories(predictor: Any) -> Tensor:
    schema = predictor.model.schema
    lists = predictor.known_users["items"].head(TRIED)
    if lists.is_empty():  # a run of an earlier version
        return torch.arange(min(TRIED, schema.num_items))[:, None]
    flat = lists.explode(empty_as_null=False, keep_nulls=False).to_numpy().astype("int32")
    end = lists.list.len().to_numpy().astype("int64").cumsum()
    start = end - lists.list.len().clip(upper_bound=schema.max_len).to_numpy()
    return gather(flat, start[end > start], end[end > start], schema.padding).long()


def _rows(model: Any) -> dict[str, Tensor]:
    generator, columns = torch.Generator().manual_seed(0), []
    for field in model.schema.fields:
        drawn = torch.randint(field.start, field.start + field.size, (TRIED, field.width),
                              generator=generator)  # fmt: skip
        columns.append(drawn)
    numbers = len(model.schema.of("numeric"))
    values = torch.randn(TRIED, numbers, generator=generator)
    return {"ids": torch.cat(columns, dim=1).int()} | ({"values": values} if numbers else {})


def _beside(predictor: Any, model: Any, made: Path, method: Method) -> dict[str, Any]:
    """Write what a model is of no use without: items, vocabularies, words; facts of them."""
    if isinstance(model, InnerProduct):
        biased = model.vectors().bias is not None
        vectors = predictor._vectors("shrink", biased=True)
        ItemTable.of(vectors, "int8" if method == "int8" else "float", biased).save(made / ITEMS)
        predictor.catalogue.items.write_parquet(made / "items.parquet")
        seen = predictor.seen
        return {"padding": model.schema.padding, "biased": biased, "seen": seen}
    if hasattr(predictor, "processor"):
        tables: dict[str, pl.DataFrame] = predictor.processor.tables()
        for name, table in tables.items():
            table.write_parquet(made / f"{name}.parquet")
        return {"goals": list(model.schema.goals)}
    model.tokenizer.save_pretrained(str(made))
    predictor.catalogue.items.write_parquet(made / "items.parquet")
    return {
        "max_query_tokens": model.max_query_tokens,
        "max_item_tokens": model.max_item_tokens,
    }
