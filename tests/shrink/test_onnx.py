"""ONNX files answer as torch does, for any number of rows and any length; eight bits come near."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from lightning_rec import cli
from lightning_rec.build import load_run
from lightning_rec.data.split import Schema
from lightning_rec.documents import read_json
from lightning_rec.errors import UserError
from lightning_rec.files import write_json
from lightning_rec.models.sequential.bert4rec import BERT4Rec
from lightning_rec.models.sequential.gru4rec import GRU4Rec
from lightning_rec.models.sequential.sasrec import SASRec
from lightning_rec.objectives.masked_item import MaskedItem
from lightning_rec.objectives.next_item import NextItem
from lightning_rec.retrieval.index.kinds import open_index
from lightning_rec.shrink.folder import put_into, real_inputs
from lightning_rec.shrink.onnx import Session, write_onnx
from lightning_rec.shrink.plain import plain
from lightning_rec.shrink.readme import readme
from lightning_rec.shrink.tables import ItemTable

for library in ("onnx", "onnxscript", "onnxruntime", "transformers", "bm25s", "usearch"):
    pytest.importorskip(library)
Run = Callable[[str], Path]
MODELS = [
    *["sasrec", "bert4rec", "deepfm", "bi_encoder"],
    pytest.param("cross_encoder", marks=pytest.mark.slow),
]
QUERIES = ["calm lamp", "a chair"]


@pytest.fixture(scope="session")
def shrunk(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``shrunk(model, method)``: the folder that the command wrote."""
    folder = tmp_path_factory.mktemp("shrunk")

    def make(model: str, method: str = "onnx") -> Path:
        to = folder / f"{model}_{method}"
        if not to.exists():
            assert cli.run(["shrink", f"run={trained(model)}", f"to={to}", f"method={method}"]) == 0
        return to

    return make


def answers(predictor: Any, rows: pl.DataFrame) -> pl.DataFrame:
    """What a predictor says of something real."""
    if hasattr(predictor, "users"):
        histories = [["i07"], ["i03", "i10", "i17"], [f"i{item:02d}" for item in range(25)]]
        return pl.concat([predictor.recommend(histories, k=5), predictor.recommend(users=["u7"], k=5)
                          .with_columns(row=pl.lit(3, pl.UInt32)).select("row", "rank", "item", "score")])  # fmt: skip
    if hasattr(predictor, "processor"):
        return predictor.score(rows)
    return predictor.recommend(QUERIES, k=5)


@pytest.mark.parametrize("model", MODELS)
def test_a_file_answers_as_the_model_does(
    model: str, trained: Run, shrunk: Callable[..., Path], rows: pl.DataFrame
) -> None:
    expected = answers(load_run(trained(model)), rows)
    put_into(holder := load_run(trained(model)), shrunk(model))
    found = answers(holder, rows)
    assert found.drop("score").equals(expected.drop("score"))
    assert (found["score"] - expected["score"]).abs().max() < 1e-5  # type: ignore[operator]


@pytest.mark.parametrize("model", MODELS)
def test_rows_and_lengths_are_free(model: str, trained: Run, shrunk: Callable[..., Path]) -> None:
    predictor: Any = load_run(trained(model))
    of = plain(predictor.model, getattr(predictor, "objective", None))
    session, inputs = Session(shrunk(model) / "model.onnx"), real_inputs(predictor, of)
    for number in (1, 2, 17):
        some = {name: each[:number] for name, each in inputs.items()}
        if of.longest is not None:  # no more columns than the longest of them
            real = some["mask"] > 0 if "mask" in some else some["history"] != 40
            width = int(real.sum(dim=1).max())
            some = {name: each[:, :width] for name, each in some.items()}
        expected = of.module(*(some[name] for name in of.inputs))
        assert torch.allclose(session(some), expected, atol=1e-5)


@pytest.mark.parametrize("model", ["bert4rec", pytest.param("bi_encoder", marks=pytest.mark.slow)])
def test_eight_bits_are_smaller_and_come_near(
    model: str, trained: Run, shrunk: Callable[..., Path], rows: pl.DataFrame
) -> None:
    whole, small = (shrunk(model, method) / "model.onnx" for method in ("onnx", "int8"))
    assert small.stat().st_size < whole.stat().st_size
    put_into(holder := load_run(trained(model)), shrunk(model, "int8"))
    found, expected = answers(holder, rows), answers(load_run(trained(model)), rows)
    assert 0 < abs(found["score"][0] - expected["score"][0]) < 0.1
    facts = read_json(shrunk(model, "int8") / "shrink.json")
    assert 0 < facts["apart"] < 0.1 * facts["largest"]


@pytest.mark.parametrize("model", MODELS)
def test_the_readme_runs_without_this_package(
    model: str, trained: Run, shrunk: Callable[..., Path], tmp_path: Path
) -> None:
    code = re.findall(r"```python\n(.*?)```", (shrunk(model) / "README.md").read_text(), re.S)
    barred = "import sys\nfor each in ('torch', 'lightning_rec'): sys.modules[each] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", barred + code[0]], cwd=shrunk(model), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    if model in ("sasrec", "bert4rec"):
        items = pl.read_parquet(shrunk(model) / "items.parquet")["item"][:3].to_list()
        expected = load_run(trained(model)).recommend([items], k=10, seen="filter")
        assert done.stdout.strip() == str(expected["item"].to_list())


def test_the_readme_leaves_out_what_was_seen_where_the_run_does(
    trained: Run, shrunk: Callable[..., Path]
) -> None:
    facts = read_json(shrunk("sasrec") / "shrink.json")
    assert facts["seen"] == "filter"
    assert "scores[had] = -np.inf" in readme(facts)
    assert "-np.inf" not in readme(facts | {"seen": "keep"})


@pytest.mark.parametrize("make", [BERT4Rec, SASRec])
def test_one_head_and_one_layer_are_exported_too(make: Any, tmp_path: Path) -> None:
    objective = MaskedItem() if make is BERT4Rec else NextItem()
    model = make(Schema(30, 6, 1), dim=8, heads=1, depth=1).eval().requires_grad_(False)
    of = plain(model, objective)
    write_onnx(of, tmp_path / "model.onnx")
    for shape in ((1, 1), (4, 3), (2, 6)):
        history = torch.randint(30, shape)
        assert torch.allclose(
            Session(tmp_path / "model.onnx")({"history": history}), of.module(history), atol=1e-5
        )


def test_a_table_of_bytes_is_rounded_by_row() -> None:
    vectors = torch.randn(50, 9) * torch.logspace(-3, 3, 50)[:, None]
    vectors[7] = 0
    table = ItemTable.of(vectors, "int8", biased=True)
    body = vectors[:, :-1]
    assert table.codes.dtype == torch.int8
    assert ((table.rows()[:, :-1] - body).abs() <= body.abs().amax(1)[:, None] / 254 * 1.001).all()
    assert torch.equal(table.rows()[:, -1], vectors[:, -1])
    some = torch.tensor([3, 7, 3])
    assert torch.equal(table.rows(some), table.rows()[some])
    assert torch.equal(ItemTable.of(vectors).rows(some), vectors[some])


def test_what_is_wrong_is_said(
    trained: Run, shrunk: Callable[..., Path], tmp_path: Path, refused: Callable[..., str]
) -> None:
    run, made = trained("sasrec"), shrunk("sasrec")
    assert "method 'onx'" in refused("shrink", f"run={run}", f"to={tmp_path / 'a'}", "method=onx")
    assert "is there already" in refused("shrink", f"run={run}", f"to={tmp_path}")
    assert "Say which run" in refused("shrink", f"run={run}")
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    (copy / "model.onnx").write_bytes((copy / "model.onnx").read_bytes() + b"x")
    with pytest.raises(UserError, match=r"model\.onnx is missing, or not as it was written"):
        put_into(load_run(run), copy)
    write_json(
        copy / "shrink.json", read_json(made / "shrink.json") | {"files": {"../x": "0" * 64}}
    )
    with pytest.raises(UserError, match=r"names no model\.onnx"):
        put_into(load_run(run), copy)
    with pytest.raises(UserError, match="is of sequences, and this run of clicks"):
        put_into(load_run(trained("deepfm")), made)


def test_what_cannot_be_exported_is_said(log_csv: Path, tmp_path: Path) -> None:
    columns = ["data.user=uid", "data.item=sku", "data.time=ts", "protocol.drop_doubled=false"]
    asked = ["model=itemknn", "data=table", f"data.path={log_csv}", *columns, "logger=none"]
    assert cli.run(["train", *asked, f"run_dir={tmp_path / 'run'}"]) == 0
    with pytest.raises(UserError, match="ItemKNN cannot be exported"):
        cli.run(["shrink", f"run={tmp_path / 'run'}", f"to={tmp_path / 'to'}"])
    assert not (tmp_path / "to").exists()


def test_layers_that_recur_are_said(tmp_path: Path) -> None:
    of = plain(GRU4Rec(Schema(20, 8, 1), dim=8), NextItem())
    with pytest.raises(UserError, match=r"layer of nn\.GRU cannot be exported"):
        write_onnx(of, tmp_path / "model.onnx")


def test_a_file_of_another_run_is_refused(
    trained: Run, shrunk: Callable[..., Path], log_csv: Path
) -> None:
    with pytest.raises(UserError, match=r"other weights than those of this run.*sasrec"):
        put_into(load_run(trained("bert4rec")), shrunk("sasrec"))


def test_the_python_of_the_page_runs(
    trained: Run, shrunk: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    shutil.copytree(trained("sasrec"), "runs/sasrec")
    shutil.copytree(shrunk("sasrec"), "sasrec_int8")
    page = Path(__file__).parents[2] / "docs" / "smaller.md"
    names: dict[str, Any] = {}
    for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.S):
        exec(code, names)
    assert len(open_index(Path("items_index"))) == len(names["vectors"])
