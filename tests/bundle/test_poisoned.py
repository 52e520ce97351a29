"""Poisoned bundles are refused in a sentence; what serves has answered before it does."""

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest
from bundle.poison import poisoned
from bundle.test_export import trained
from cli.test_figures import RUNS, paths
from safetensors.torch import load_file, save_file
from serving.servers import Asking

from lightning_rec import open_model
from lightning_rec.bundle.export import export
from lightning_rec.bundle.manifest import write
from lightning_rec.errors import UserError

for _library in ("fastapi", "httpx", "bm25s"):
    pytest.importorskip(_library)
__all__ = ["paths"]  # a fixture
LOG = ["data=table", "data.path=$log", "data.user=uid", "data.item=sku", "data.time=ts"]
PAIRS = [each for each in RUNS["bi encoder"] if "encoder" not in each and "batch" not in each]
PAST = ["data=click_table", "data.path=$titled", "data.fields.label=clicked", "model=din"]
PAST += ["data.fields.group=uid", "protocol=temporal_rows", "data.fields.time=ts", "model.dim=4"]
PAST += ["data.fields.categorical=[uid,sku]", "data.fields.item=sku", "data.fields.past=clicks"]
MADE = {
    "sequences": ["model=sasrec", *LOG, "model.dim=8", "batches.max_len=10"],
    "clicks": RUNS["deepfm"] + ["+data.fields.buckets={price: 4}"],
    "goals": RUNS["mmoe"],
    "histories": PAST,
    "matching": ["model=bm25", *PAIRS],
}
HISTORY = {"history": ["i03", "i10"], "k": 5}
ROW = {"uid": "u4", "sku": "i03", "device": "phone", "price": 3.5, "tags": "a|b"}
ROWS = {"rows": [ROW | {"history": ["i03", "i10"]}]}
CANDIDATES = {"row": {"uid": "u4"}, "candidates": [{"sku": "i03"}, {"sku": "i10"}], "k": 2}
ASKED: dict[str, list[tuple[str, Any]]] = {
    "sequences": [
        ("/recommend", HISTORY), ("/recommend", {"user": "u4"}),
        ("/recommend", HISTORY | {"rules": {"diversity": "mmr:0.3", "explore": "thompson:1"}}),
        ("/similar", {"items": ["i03"]}), ("/predict", {"rows": [{"user": "u4", "item": "i03"}]}),
        ("/events", {"user": "u4", "items": ["i03"]}), ("/demo/items?text=i0", None),
        ("/demo/recommend", {"history": ["i03"]}),
    ],
    "clicks": [("/predict", ROWS), ("/recommend", CANDIDATES)],
    "matching": [("/search", {"query": "blue shoe"}), ("/similar", {"items": ["p01"]})],
}  # fmt: skip
ASKED |= dict.fromkeys(("goals", "histories"), ASKED["clicks"])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"": tmp_path_factory.mktemp("poisoned")}


def bundle_of(name: str, made: dict[str, Path], paths: dict[str, Path]) -> Path:
    if name not in made:
        run = trained(made[""] / name, paths, MADE[name])
        made[name] = export(run, made[""] / f"{name}-bundle")
    return made[name]


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("number", [12, pytest.param(80, marks=pytest.mark.slow)])
def test_no_poisoned_bundle_ends_in_an_internal_error_or_replaces_a_good_one(
    name: str, number: int, made: dict[str, Path], paths: dict[str, Path], tmp_path: Path
) -> None:
    """Of a server that is to take it over; 400 of them in all, and a good one at the end."""
    bundle, bad, link = bundle_of(name, made, paths), tmp_path / "bad", tmp_path / "link"
    link.symlink_to(bundle)
    taken = list[str]()

    async def tried(ask: Asking, seed: int) -> None:
        told = "nothing" if seed < 0 else poisoned(bad, Random(f"{name} {seed}"))
        before, refused = ask.service.model.version, ""
        try:
            await ask.service.reload()
            taken.append(told)
        except UserError as error:
            refused = str(error)
        if refused:
            assert ask.service.model.version == before, told
            assert refused == f"The model stays as it was. {ask.service.problem}", told
        for path, body in ASKED[name]:
            found = await (ask.post(path, body) if body else ask._get(path, {}))
            assert found.status < 500, (told, path, found.body)
            if path == ASKED[name][0][0] and not refused:
                assert found.status == 200, (told, found.body)

    async def all_of_them() -> None:
        ask = Asking(link, demo=True)
        for seed in range(number):
            shutil.rmtree(bad, ignore_errors=True)
            shutil.copytree(bundle, bad)
            link.unlink()
            link.symlink_to(bad)
            await tried(ask, seed)
        link.unlink()
        link.symlink_to(bundle)
        await tried(ask, -1)
        await ask.close()

    asyncio.run(all_of_them())
    assert taken[-1] == "nothing"
    assert len(taken) < number  # most are refused


Change = Callable[[pl.DataFrame], pl.DataFrame]
TABLES: dict[str, tuple[str, str, Change, str]] = {
    "item": ("sequences", "items", lambda of: of.rename({"item": "id"}), "no column 'item'"),
    "codes": (
        "sequences", "users", lambda of: of.with_columns(pl.col("items").cast(pl.List(pl.Int64))),
        r"users.parquet holds List\(Int64\) in 'items', where List\(UInt32\) belongs",
    ),
    "fields": ("clicks", "fields", lambda of: of.drop("width"), "no column 'width'"),
    "kinds": (
        "clicks", "fields", lambda of: of.with_columns(kind=pl.lit("numeric")), "another kind"
    ),
    "order": ("clicks", "vocabulary", lambda of: of.reverse(), "numbers the values of"),
    "text": (
        "clicks", "vocabulary", lambda of: of.with_columns(pl.col("id").cast(pl.String)),
        "holds String in 'id', where Int32 belongs",
    ),
    "twice": (
        "clicks", "vocabulary", lambda of: of.with_columns(value=pl.lit("x")),
        "has a value of a field twice",
    ),
    "nan": (
        "goals", "statistics", lambda of: of.with_columns(mean=pl.lit(float("nan"))),
        "holds what is no number",
    ),
    "edges": (
        "clicks", "statistics", lambda of: of.with_columns(pl.col("edges").list.reverse()),
        "edges that do not rise",
    ),
    "absent": ("histories", "vocabulary", lambda of: of.clear(), "another kind, start or size"),
    "title": ("matching", "items", lambda of: of.drop("title"), "no column 'title'"),
    "fewer": ("matching", "items", lambda of: of.head(3), "has 3 items, and the model others"),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLES)
def test_tables_that_do_not_fit_are_refused_in_a_sentence(
    case: str, made: dict[str, Path], paths: dict[str, Path], tmp_path: Path
) -> None:
    name, table, change, told = TABLES[case]
    bad = Path(shutil.copytree(bundle_of(name, made, paths), tmp_path / "bad"))
    change(pl.read_parquet(bad / f"{table}.parquet")).write_parquet(bad / f"{table}.parquet")
    resealed(bad)
    with pytest.raises(UserError, match=told):
        open_model(bad)


def resealed(bundle: Path) -> None:
    manifest = json.loads((bundle / "bundle.json").read_text())
    (bundle / "bundle.json").unlink()
    write(bundle, manifest["kind"], manifest["settings"])


@pytest.mark.parametrize("name", ["sequences", "clicks"])
def test_weights_that_are_no_numbers_open_and_do_not_serve(
    name: str, made: dict[str, Path], paths: dict[str, Path], tmp_path: Path
) -> None:
    bad = Path(shutil.copytree(bundle_of(name, made, paths), tmp_path / "bad"))
    weights = load_file(bad / "weights.safetensors")
    nothing = {key: of * float("nan") for key, of in weights.items() if of.is_floating_point()}
    save_file(weights | nothing, bad / "weights.safetensors")
    resealed(bad)
    open_model(bad)
    with pytest.raises(UserError, match=r"finds nothing|score is none"):
        Asking(bad)
