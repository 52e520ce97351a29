"""Every script of examples/ runs as it stands, in an empty folder."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_it_runs(example: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(example)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.glob("runs/*")), "it trains nothing"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_it_opens_as_a_notebook_and_uses_what_is_public(example: Path) -> None:
    text = example.read_text()
    assert text.startswith("# %% [markdown]\n# # ")
    assert "lightning_rec._" not in text
    assert "lightning_rec import cli" not in text
