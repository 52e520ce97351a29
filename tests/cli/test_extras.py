"""What is optional may be missing: who needs it is told which extra brings it."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.errors import MissingConfigException

from lightning_rec import config
from lightning_rec.errors import UserError, import_extra


def test_tfidf_without_scikit_learn(
    small: list[str],
    catalogue_csv: Path,
    refused: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.feature_extraction.text", None)
    log = [each for each in small if not each.startswith("model.")]
    about = [f"data.catalogue={catalogue_csv}", "data.catalogue_item=sku", "model=tfidf"]
    sentence = "model=tfidf needs scikit-learn, which is not installed: "
    assert refused("train", *log, *about, f"run_dir={tmp_path / 'run'}") == (
        f"{sentence}pip install 'lightning-rec[classic]'."
    )


@pytest.mark.parametrize(
    ("launcher", "package", "extra"),
    [
        ("joblib", "hydra-joblib-launcher", "sweeps"),
        ("submitit_local", "hydra-submitit-launcher", "slurm"),
        ("submitit_slurm", "hydra-submitit-launcher", "slurm"),
        ("ray", "hydra-ray-launcher", "ray"),
    ],
)
def test_a_launcher_that_is_not_installed(launcher: str, package: str, extra: str) -> None:
    error = MissingConfigException("", f"hydra/launcher/{launcher}", ["basic"])
    assert str(config.translate(error)) == (
        f"hydra/launcher={launcher} needs {package}, which is not installed: "
        f"pip install 'lightning-rec[{extra}]'."
    )


def test_a_launcher_that_is_no_choice() -> None:
    error = MissingConfigException("", "hydra/launcher/jobli", ["basic"])
    assert "Unknown choice hydra/launcher=jobli." in str(config.translate(error))


def test_what_does_without_is_said() -> None:
    with pytest.raises(UserError) as error:
        import_extra("no_such.library", "x=1", "hub", "y=2 does without.")
    assert str(error.value) == (
        "x=1 needs no_such, which is not installed: pip install 'lightning-rec[hub]'. "
        "y=2 does without."
    )
