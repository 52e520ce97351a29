"""Bundles answer as their runs do, and open without what training needs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from string import Template
from typing import Any

import polars as pl
import pytest
from cli.test_figures import RUNS, paths
from polars.testing import assert_frame_equal
from safetensors.torch import load_file, save_file
from shipped import models_of

from lightning_rec import cli, config, load_run, open_model
from lightning_rec.bundle.export import export
from lightning_rec.bundle.manifest import write
from lightning_rec.errors import UserError
from lightning_rec.files import sha256_json

__all__ = ["paths"]  # a fixture
QUICK = ["trainer=cpu", "trainer.max_epochs=1", "logger=none"]
LOG = ["data=table", "data.path=$log", "data.user=uid", "data.item=sku", "data.time=ts"]
SEQUENCES = [
    name
    for name in models_of("sequence")
    if name != "zero_shot"  # reads texts alone: those of tests/text
]
NEEDS = {
    "gsasrec": ["loss.negatives=8"],
    "esasrec": ["loss.negatives=8"],
    "category_popularity": [
        *("data.catalogue=$catalogue", "data.catalogue_item=sku", "model.column=kind")
    ],
    "s3rec_pretraining": [
        *("data.catalogue=$catalogue", "data.catalogue_item=sku", "model.column=kind")
    ],
    "tfidf": ["data.catalogue=$catalogue", "data.catalogue_item=sku", "model.columns=[title]"],
}
REFUSED = ("masked words",)


def trained(folder: Path, paths: dict[str, Path], overrides: list[str]) -> Path:
    made = [Template(each).substitute(paths) for each in overrides]
    assert cli.run(["train", *made, *QUICK, f"run_dir={folder}"]) == 0
    return folder


@pytest.mark.parametrize("model", SEQUENCES)
def test_every_model_of_sequences_answers_from_a_bundle_as_from_its_run(
    model: str, paths: dict[str, Path], tmp_path: Path
) -> None:
    node = config.compose([f"model={model}"])
    small = [f"model.{key}={of}" for key, of in {"dim": 8}.items() if key in node.model]
    small += ["batches.max_len=10"] if "max_len" in node.batches else []
    run = trained(tmp_path / "run", paths, [f"model={model}", *LOG, *small, *NEEDS.get(model, [])])
    bundle = export(run, tmp_path / "bundle")
    ours, theirs = load_run(run), open_model(bundle)
    known = ours.users["user"].to_list()
    asked: dict[str, Any] = {"users": known, "k": 7}
    assert_frame_equal(ours.recommend(**asked), theirs.recommend(**asked))
    ids = json.dumps(ours.items["item"].head(2).to_list())
    assert f"model.recommend([{ids}], k=10)" in (bundle / "README.md").read_text()
    rows = pl.DataFrame({"user": known[:20], "item": ["i07"] * 20})
    assert_frame_equal(ours.score(rows), theirs.score(rows))


@pytest.mark.parametrize(
    ("model", "item"),
    [
        ("difsr", "features_and_ids"),
        ("difsr", "[ids,features,text]"),
        ("difsr", "features"),
        ("freedom", "features"),
        ("freedom", "[features,text]"),
        ("freedom", "ids"),
    ],
)
def test_attributes_stand_apart_where_a_model_reads_them_so(
    model: str, item: str, paths: dict[str, Path], tiny_minilm: Path, tmp_path: Path
) -> None:
    about = ["data.catalogue=$catalogue", "data.catalogue_item=sku", "data.catalogue_title=title"]
    more = [f"item={item}", "model.dim=8", "optimizer.lr=0.05"]
    if "text" in item:
        more += [f"item.parts.text.encoder={tiny_minilm}"]
    run = trained(tmp_path / "run", paths, [f"model={model}", *LOG, *about, *more])
    bundle = export(run, tmp_path / "bundle")
    ours, theirs = load_run(run), open_model(bundle)
    known = ours.users["user"].to_list()
    found = theirs.recommend(users=known, k=7)
    assert_frame_equal(ours.recommend(users=known, k=7), found)
    stored = load_file(bundle / "weights.safetensors")
    parts = [name for name in stored if ".parts." in name]
    if model == "freedom" or item == "features":  # whose graph is kept, or which has one encoder
        return
    assert len(parts) == 1 + item.count(",") + (item == "features_and_ids")
    described = next(name for name in parts if "features" in name)
    save_file(stored | {described: stored[described].flip(0)}, bundle / "weights.safetensors")
    said = json.loads((bundle / "bundle.json").read_text())["settings"]
    (bundle / "bundle.json").unlink()
    write(bundle, "sequences", said)
    assert not open_model(bundle).recommend(users=known, k=7).equals(found)


@pytest.mark.parametrize("name", [name for name in RUNS if name not in REFUSED])
def test_a_run_of_every_kind_is_exported(name: str, paths: dict[str, Path], tmp_path: Path) -> None:
    run = trained(tmp_path / "run", paths, RUNS[name])
    assert cli.run(["export", f"run={run}", f"to={tmp_path / 'bundle'}"]) == 0  # and tried
    assert open_model(tmp_path / "bundle").name == load_run(run).name
    assert cli.run(["verify", str(tmp_path / "bundle")]) == 0
    files = [file for file in (tmp_path / "bundle").rglob("*") if file.is_file()]
    (tmp_path / "plain").touch()  # who serves it may not be who exported it
    assert {file.stat().st_mode for file in files} == {(tmp_path / "plain").stat().st_mode}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_travel_is_told(name: str, paths: dict[str, Path], tmp_path: Path) -> None:
    run = trained(tmp_path / "run", paths, RUNS[name])
    with pytest.raises(UserError, match="answers nothing"):
        export(run, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, log_csv: Path) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    small = ["model=sasrec", "model.dim=8", "batches.max_len=10", *LOG]
    run = trained(folder / "run", {"log": log_csv}, small)
    return export(run, folder / "bundle")


def test_a_bundle_opens_without_hydra_lightning_and_transformers(bundle: Path) -> None:
    script = (
        "import sys, lightning_rec\n"
        f"model = lightning_rec.open_model({str(bundle)!r})\n"
        "print(len(model.recommend([['i03', 'i10']], k=3)))\n"
        "print([m for m in ('hydra', 'omegaconf', 'pytorch_lightning', 'torchmetrics',"
        " 'transformers', 'wandb', 'scipy', 'sklearn') if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:2] == ["3", "[]"]


def test_without_users_it_answers_for_histories(bundle: Path, tmp_path: Path) -> None:
    alone = export(bundle.parent / "run", tmp_path / "alone", users=False)
    assert not (alone / "users.parquet").exists()
    model = open_model(alone)
    assert len(model.recommend([["i03", "i10"]], k=3)) == 3
    with pytest.raises(UserError, match="keeps no users"):
        model.recommend(users=["u4"])


def changed(bundle: Path, to: Path, **said: Any) -> Path:
    """A copy whose manifest says something else."""
    shutil.copytree(bundle, to)
    reseal(to, **said)
    return to


def reseal(bundle: Path, **said: Any) -> None:
    """Change a manifest, and have its own hash right: whoever can write it can do so."""
    made = json.loads((bundle / "bundle.json").read_text()) | said
    del made["sha256"]
    (bundle / "bundle.json").write_text(json.dumps(made | {"sha256": sha256_json(made)}))


def test_another_format_is_refused(bundle: Path, tmp_path: Path) -> None:
    newer = changed(bundle, tmp_path / "newer", format=2, made_with="9.0")
    with pytest.raises(UserError, match=r"made with lightning-rec 9\.0; this version reads"):
        open_model(newer)
    unknown = changed(bundle, tmp_path / "unknown", more=1)
    with pytest.raises(UserError, match="more: extra inputs"):
        open_model(unknown)


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "lightning_rec.files.write_text",
        "lightning_rec.bundle.export.RunFolder",
        "lightning_rec.tasks.base.Task",
        "torch.nn.Linear",
    ],
)
def test_a_poisoned_manifest_runs_nothing(target: str, bundle: Path, tmp_path: Path) -> None:
    manifest = json.loads((bundle / "bundle.json").read_text())
    settings = manifest["settings"] | {"model": {"_target_": target, "command": "touch x"}}
    with pytest.raises(UserError, match=rf"model\._target_={target} is nothing that"):
        open_model(changed(bundle, tmp_path / "bad", settings=settings))


def test_files_are_those_of_the_manifest(bundle: Path, tmp_path: Path) -> None:
    def copy(name: str) -> Path:
        return Path(shutil.copytree(bundle, tmp_path / name))

    (copy("more") / "more.txt").write_text("x")
    with pytest.raises(UserError, match=r"more\.txt: not of the bundle"):
        open_model(tmp_path / "more")
    (copy("less") / "items.parquet").unlink()
    with pytest.raises(UserError, match=r"items\.parquet: missing"):
        open_model(tmp_path / "less")
    whole = (copy("bit") / "weights.safetensors").read_bytes()
    (tmp_path / "bit" / "weights.safetensors").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(UserError, match="not as it was written"):
        open_model(tmp_path / "bit")
    manifest = copy("manifest") / "bundle.json"
    said = json.loads(manifest.read_text())
    said["settings"]["seen"] = {"filter": "keep", "keep": "filter"}[said["settings"]["seen"]]
    manifest.write_text(json.dumps(said))
    with pytest.raises(UserError, match="its own SHA-256 is another"):
        open_model(tmp_path / "manifest")
    assert cli.run(["verify", str(tmp_path / "manifest")]) == 1
    assert cli.run(["verify", str(bundle)]) == 0
    assert cli.run(["verify", str(tmp_path / "bit")]) == 1
    linked = copy("link") / "card.json"
    linked.unlink()
    linked.symlink_to(bundle / "card.json")
    with pytest.raises(UserError, match="links"):
        open_model(tmp_path / "link")


def test_parts_that_do_not_fit_are_refused(bundle: Path, tmp_path: Path) -> None:
    """Hashes are right in each: whoever can write the folder can write these."""
    said = json.loads((bundle / "bundle.json").read_text())["settings"]
    items, users = (pl.read_parquet(bundle / f"{name}.parquet") for name in ("items", "users"))
    weights = load_file(bundle / "weights.safetensors")
    absent = dict(list(weights.items())[1:])
    cases: dict[str, tuple[dict[str, Any], str]] = {
        "items.parquet": ({"table": items.head(3)}, "has 3 items, and the model"),
        "users.parquet": (
            {"table": users.with_columns(items=pl.lit([999], pl.List(pl.UInt32)))},
            "names items that a model",
        ),
        **{
            f"{number}/users.parquet": (
                {"table": users.with_columns(items=pl.lit(items_of, pl.List(kind)))},
                told,
            )
            for number, (items_of, kind, told) in enumerate(
                [
                    ([-5, 1], pl.Int64, "holds List"),
                    ([None, 1], pl.UInt32, "without a code"),
                    (None, pl.UInt32, "without"),
                ]
            )
        },
        "2/items.parquet": (
            {"table": items.with_columns(item=pl.lit(items["item"][0]))},
            "one twice",
        ),
        "evil.py": ({"text": "raise SystemExit"}, r"evil\.py: no files of data"),
        "weights.safetensors": ({"weights": absent}, "Missing key"),
        "schema": ({"settings": {"schema": [-5, 10, 1]}}, "Padding_idx|negative"),
        "seen": ({"settings": {"seen": "often"}}, "seen=often is neither"),
        "../../etc/passwd": ({"named": {"bytes": 1, "sha256": "0" * 64}}, "missing"),
    }
    for number, (name, (change, told)) in enumerate(cases.items()):
        bad = Path(shutil.copytree(bundle, tmp_path / str(number)))
        if "table" in change:
            change["table"].write_parquet(bad / name.rpartition("/")[2])
        if "text" in change:
            (bad / name).write_text(change["text"])
        if "weights" in change:
            save_file(change["weights"], bad / name)
        (bad / "bundle.json").unlink()
        write(bad, "sequences", said | change.get("settings", {}))
        if "named" in change:
            manifest = json.loads((bad / "bundle.json").read_text())
            reseal(bad, files=manifest["files"] | {name: change["named"]})
        with pytest.raises(UserError, match=told):
            open_model(bad)


def test_what_is_there_stays(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is there already"):
        export(bundle.parent / "run", bundle)
    with pytest.raises(UserError, match="no folder"):
        export(tmp_path / "nowhere", tmp_path / "bundle")
    with pytest.raises(UserError, match="Say to="):
        cli.run(["export", f"run={bundle.parent / 'run'}"])
