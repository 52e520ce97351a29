"""Signs of patterns in a path, as in ``log[1].csv``, are signs: no other file is read in its place."""

import ast
from pathlib import Path

import polars as pl
import pytest

import lightning_rec
from lightning_rec import cli
from lightning_rec.build import load_run
from lightning_rec.documents import read_json

PACKAGE = Path(lightning_rec.__file__).parent
READERS = (
    "read_parquet scan_parquet scan_csv read_csv scan_ipc read_parquet_schema scan_ndjson scan"
)


def test_every_reader_is_told_that_a_path_is_no_pattern() -> None:
    loose = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "pl"
        and node.func.attr in READERS.split()
        and not any(each.arg == "glob" for each in node.keywords)
        and "glob.escape" not in ast.unparse(node)
    ]
    assert loose == []


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
def test_a_file_is_read_beside_one_that_its_name_would_match(
    log_frame: pl.DataFrame, form: str, tmp_path: Path
) -> None:
    write = {"csv": "write_csv", "parquet": "write_parquet", "jsonl": "write_ndjson"}[form]
    named, other = tmp_path / f"log[1].{form}", tmp_path / f"log1.{form}"
    getattr(log_frame, write)(named)
    getattr(log_frame.head(100), write)(other)
    folder = tmp_path / "run[1]"
    line = ["data=table", f"data.path='{named}'", "data.user=uid", "data.item=sku", "data.time=ts"]
    line += ["model=itemknn", "trainer=cpu", "logger=none", "baseline=null", f"run_dir='{folder}'"]
    assert cli.run(["train", *line]) == 0
    assert read_json(folder / "run.json")["split"]["events read"] == len(log_frame)
    decoy = tmp_path / "run1"
    decoy.mkdir()
    pl.DataFrame({"code": [0], "item": ["none"]}).write_parquet(decoy / "items.parquet")
    assert len(load_run(folder).recommend([["i01"]], k=3)) == 3
