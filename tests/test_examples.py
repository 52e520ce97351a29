"""Every script and notebook of examples/ runs as it stands, in an empty folder."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent.parent / "examples"
SCRIPTS, NOTEBOOKS = sorted(FOLDER.glob("*.py")), sorted(FOLDER.glob("*.ipynb"))


def cells(notebook: Path) -> list[dict[str, Any]]:
    """The cells of a notebook, each with its text as ``source``."""
    found: list[dict[str, Any]] = json.loads(notebook.read_text())["cells"]
    return [cell | {"source": "".join(cell["source"])} for cell in found]


def shown(code: str, names: dict[str, Any]) -> str | None:
    """Run a cell as a notebook does; what it shows is the text of its last expression."""
    tree = ast.parse(code)
    last = tree.body.pop()
    if not isinstance(last, ast.Expr):
        exec(code, names)
        return None
    exec(compile(tree, "cell", "exec"), names)
    value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    for form in ("_repr_html_", "_repr_markdown_"):
        if hasattr(value, form):
            getattr(value, form)()
    return repr(value)


@pytest.mark.parametrize("example", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_runs(example: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(example)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.glob("runs/*")), "it trains nothing"


@pytest.mark.parametrize("example", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(
    example: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    told = [shown(cell["source"], names) for cell in cells(example) if cell["cell_type"] == "code"]
    assert list(tmp_path.glob("runs/*")), "it trains nothing"
    printed = capsys.readouterr().out
    if example.stem == "own_csv":
        metrics = names["run"].metrics
        assert f"{metrics['test/recall@10']} {metrics['popularity/test/recall@10']}" in printed
        assert metrics["test/recall@10"] > metrics["popularity/test/recall@10"]
    elif example.stem == "compare":
        differing, alike = names["found"].verdicts(), names["alike"].verdicts()
        assert all("more than chance" in sentence for sentence in differing)
        assert all("may be noise" in sentence for sentence in alike)
        assert all(sentence in printed for sentence in [*differing, *alike])
    else:
        assert "bundles/broken/items.parquet is not as it was written" in printed
    assert any(text and text.startswith("shape: ") for text in told)


@pytest.mark.parametrize("example", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_text_without_outputs(example: Path) -> None:
    found = json.loads(example.read_text())
    assert (found["nbformat"], found["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in found["cells"]}) == len(found["cells"])
    assert cells(example)[0]["source"].startswith("# ")
    code = [cell for cell in cells(example) if cell["cell_type"] == "code"]
    assert [(cell["outputs"], cell["execution_count"]) for cell in code] == [([], None)] * len(code)


@pytest.mark.parametrize("example", [*SCRIPTS, *NOTEBOOKS], ids=lambda path: path.stem)
def test_it_uses_what_is_public(example: Path) -> None:
    text = example.read_text()
    assert example.suffix == ".ipynb" or text.startswith("# %% [markdown]\n# # ")
    assert "lightning_rec._" not in text
    assert "lightning_rec import cli" not in text
