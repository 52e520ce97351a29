"""The folder of a language model that a stranger sent."""

import json
import shutil
from pathlib import Path

import pytest

from lightning_rec.errors import UserError
from lightning_rec.language.load import load_language

pytest.importorskip("transformers")


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
@pytest.mark.parametrize("value", ["theirs/kernel", {"": "theirs/kernel"}])
def test_no_kernel_is_fetched(tiny_bert: Path, tmp_path: Path, key: str, value: object) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_bert, folder)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {key: value}))
    with pytest.raises(UserError, match="theirs/kernel would fetch code and run it"):
        load_language(folder, meta=True)
