"""Folders of language models that are not what they say."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lightning_rec.errors import UserError
from lightning_rec.language.load import load_language


def test_a_folder_of_ours_has_no_other_weights(tiny_bert: Path, tmp_path: Path) -> None:
    load_language(tiny_bert, whole=True)
    few, more = (Path(shutil.copytree(tiny_bert, tmp_path / name)) for name in ("few", "more"))
    settings = json.loads((few / "config.json").read_text()) | {"num_hidden_layers": 1}
    (few / "config.json").write_text(json.dumps(settings))
    weights = load_file(more / "model.safetensors") | {"zzz": torch.zeros(2)}
    save_file(weights, more / "model.safetensors", {"format": "pt"})
    for folder in (few, more):
        load_language(folder)  # what a hub has may have more: heads, other layers
        with pytest.raises(UserError, match="weights that its model has no place for"):
            load_language(folder, whole=True)


@pytest.mark.parametrize("elsewhere", ["../other/model.safetensors", "/model.safetensors"])
def test_no_weights_are_read_elsewhere(elsewhere: str, tiny_bert: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "it"))
    names = load_file(folder / "model.safetensors")
    shutil.copytree(tiny_bert, tmp_path / "other")
    (folder / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, elsewhere)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="lies elsewhere, and is not read"):
        load_language(folder)
