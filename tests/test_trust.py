"""Nothing runs but ours: what a config, a run folder and Hydra may build, read and write down."""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from lightning_rec import cli, config, documents, trust
from lightning_rec.errors import UserError
from lightning_rec.runs.distributed import joined_by
from lightning_rec.runs.folder import RunFolder

Refused = Callable[..., str]
NODES = [
    *("data", "protocol", "batches", "model", "objective", "loss", "optimizer", "schedule"),
    *("adapter", "task", "trainer", "callbacks.best", "logger.wandb", "baseline", "item"),
    *("encoder.model", "negatives.by", "callbacks.new", "foo"),
]
MINE = """\
import os
from subprocess import run
from torch import nn

from lightning_rec.models.sequential.bert4rec import BERT4Rec

class Mine(BERT4Rec):
    pass
"""


@pytest.fixture(autouse=True)
def nothing_trusted() -> Iterator[None]:
    trust.forget()
    yield
    trust.forget()


@pytest.fixture
def hit(tmp_path: Path) -> Iterator[Path]:
    """A file that is there if a config got what it asked for."""
    path = tmp_path / "hit"
    yield path
    assert not path.exists()


@pytest.fixture
def refused() -> Refused:
    def refuse(*arguments: str) -> str:
        with pytest.raises(UserError) as error:
            cli.run(list(arguments))
        assert "\n" not in str(error.value)
        return str(error.value)

    return refuse


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's own, new to Python in every test."""
    name = f"mine_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    return name


@pytest.fixture(scope="module")
def saved() -> dict[str, Any]:
    """A config as training leaves it in a run folder."""
    cfg = config.compose(["logger=wandb", "name=n", "run_dir=r"])
    tree = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(tree, dict)
    return tree  # type: ignore[return-value]


@pytest.fixture
def folder(saved: dict[str, Any], tmp_path: Path) -> Path:
    """A run folder that somebody sent."""
    run = tmp_path / "run"
    run.mkdir()
    write(run, saved)
    (run / "run.json").write_text('{"status": "completed"}')
    return run


def write(run: Path, tree: dict[str, Any]) -> None:
    (run / "config.yaml").write_text(yaml.safe_dump(tree))


def planted(tree: dict[str, Any], node: str, value: Any) -> dict[str, Any]:
    """The config with ``value`` at ``node``."""
    tree = json.loads(json.dumps(tree))
    *parents, last = node.split(".")
    at = tree
    for parent in parents:
        at[parent] = at.get(parent) or {}
        at = at[parent]
    at[last] = value
    return tree


def named_in_conf() -> list[str]:
    files = trust.config_dir().rglob("*.yaml")
    trees = [yaml.safe_load(path.read_text()) for path in files]
    return sorted({str(name) for tree in trees for _, name in trust.targets(tree)})


@pytest.mark.parametrize("name", named_in_conf())
def test_what_the_shipped_configs_name_may_be_built(name: str) -> None:
    assert callable(trust.resolve("node", name))


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "posix.system",
        "subprocess.run",
        "builtins.exec",
        "importlib.import_module",
        "os:system",
        "os",
        "torch.hub.load",
        "torch.load",
        "numpy.load",
        "hydra.utils.call",
        "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
        "pytorch_lightning.callbacks.LambdaCallback",
        "pytorch_lightning.loggers.TensorBoardLogger",  # writes to any sub_dir
        "pytorch_lightning.callbacks.os.system",
        "torch.optim.os.system",
        "lightning_rec.files.os.system",
        "lightning_rec.files.os.path.join",
        "lightning_rec.runs.provenance.subprocess.run",
        "lightning_rec.files.write_text",
        "lightning_rec.training.train",
        "lightning_rec.config.UserError",
        "lightning_rec.models.sequential.bert4rec.nn.Linear",
        "lightning_rec.__main__.main",
        "pytest.main",
        "__main__.x",
        "",
        7,
        None,
        ["os.system"],
        "${a}",
    ],
)
def test_what_is_not_on_the_list_is_refused(name: Any) -> None:
    with pytest.raises(UserError, match=r"node\._target_="):
        trust.resolve("node", name)


def test_nothing_is_imported_before_it_is_refused() -> None:
    modules = {"antigravity", "turtledemo"}
    assert not modules & set(sys.modules)
    for name in ("antigravity.geohash", "turtledemo.clock.main"):
        with pytest.raises(UserError, match="a part of Python"):
            trust.resolve("node", name)
    assert not modules & set(sys.modules)


def test_a_module_of_ones_own_gives_what_it_defines_alone(mine: str) -> None:
    assert trust.resolve("model", f"{mine}.Mine").__name__ == "Mine"
    for name in ("os.system", "run", "nn.Linear", "BERT4Rec", "os"):
        with pytest.raises(UserError, match="_target_="):
            trust.resolve("model", f"{mine}.{name}")


@pytest.mark.parametrize("node", NODES)
def test_no_node_of_a_saved_config_runs_code(
    saved: dict[str, Any], folder: Path, refused: Refused, hit: Path, node: str
) -> None:
    write(folder, planted(saved, node, {"_target_": "os.system", "command": f"touch {hit}"}))
    told = refused("evaluate", f"run={folder}")
    assert f"{node}._target_=os.system is nothing that a config found in a folder may" in told


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "run={}"],
        ["train", "resume={}"],
        ["search", "run={}", "lamp"],
        ["_worker", "train", "{}"],
        ["show", "experiment=bert4rec_then_ctr", "encoder.run={}"],
        ["train", "experiment=bert4rec_then_ctr", "encoder.run={}", "logger=none"],
        ["show", "data=home_depot", "model=cross_encoder", "model.first={}", "task=match"],
    ],
)
def test_no_reader_of_a_run_folder_runs_code(
    saved: dict[str, Any],
    folder: Path,
    refused: Refused,
    hit: Path,
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder.parent)
    nested = [{"deep": {"_target_": "os.system", "command": f"touch {hit}"}}]
    write(folder, planted(saved, "model.layers", nested))
    told = refused(*(argument.format(folder) for argument in arguments))
    assert "model.layers.0.deep._target_=os.system" in told


@pytest.mark.parametrize("name", ["lightning_rec.files.write_text", "lightning_rec.losses.full.os"])
def test_a_saved_config_builds_of_ours_what_a_config_names(
    saved: dict[str, Any], folder: Path, name: str
) -> None:
    write(folder, planted(saved, "loss", {"_target_": name, "target": "x", "text": "y"}))
    with pytest.raises(UserError, match=r"loss\._target_=lightning_rec"):
        _ = RunFolder.open(folder).config


def test_a_part_of_one_kind_is_none_of_another(saved: dict[str, Any], folder: Path) -> None:
    callback = {"_target_": "pytorch_lightning.callbacks.ModelCheckpoint", "dirpath": "/"}
    write(folder, planted(saved, "loss", callback))
    with pytest.raises(UserError, match=r"loss\._target_=pytorch_lightning"):
        _ = RunFolder.open(folder).config


def test_a_model_of_ones_own_is_trusted_by_name(
    saved: dict[str, Any], folder: Path, refused: Refused, mine: str
) -> None:
    write(folder, planted(saved, "model._target_", f"{mine}.Mine"))
    assert f"--trust {mine}" in refused("evaluate", f"run={folder}")
    assert "'data=no'" in refused("evaluate", "--trust", mine, f"run={folder}", "data=no")
    assert "--trust" in refused("evaluate", f"run={folder}")  # trust ends with the command


@pytest.mark.parametrize("said", [True, False])
def test_further_processes_trust_the_same_modules(mine: str, said: bool, tmp_path: Path) -> None:
    trust.begin()
    if said:
        trust.trust(mine)
    trust.resolve("model", f"{mine}.Mine")  # his own, which the saved config then names
    with joined_by("train", tmp_path):
        arguments = sys.argv[1:]
    trust.forget()
    with pytest.raises(UserError, match="is not a run folder"):
        cli.run(arguments)
    assert trust.named() == mine


@pytest.mark.parametrize(
    ("names", "said"),
    [("os", "a part of Python"), ("no_such_module", "no module"), ("a b", "no name"), ("", "Say")],
)
def test_trust_takes_modules_alone(refused: Refused, names: str, said: str) -> None:
    assert said in refused("evaluate", f"--trust={names}", "run=x")


@pytest.mark.parametrize(
    "value",
    [
        "${oc.env:LR_SECRET}",
        "x ${oc.decode:${oc.env:LR_SECRET}}",
        "${now:%Y}",
        "${hydra:a}",
        "${seed}",
    ],
)
@pytest.mark.parametrize("node", ["name", "tracking.group", "loss.x"])
def test_nothing_of_a_saved_config_is_resolved(
    saved: dict[str, Any], folder: Path, refused: Refused, node: str, value: str
) -> None:
    write(folder, planted(saved, node, value))
    told = refused("evaluate", f"run={folder}")
    assert re.search(f"{node}.* write the value itself", told)
    write(folder, planted(saved, node, [value]))
    assert "write the value itself" in refused("train", f"resume={folder}")
    write(folder, saved)
    assert "${" in refused("train", f"resume={folder}", f"name={value}")


@pytest.mark.parametrize("place", ["/", "..", "../other", "elsewhere"])
@pytest.mark.parametrize("key", ["callbacks.best.dirpath", "logger.wandb.save_dir"])
def test_a_saved_config_writes_into_its_own_folder(
    saved: dict[str, Any], folder: Path, refused: Refused, key: str, place: str
) -> None:
    write(folder, planted(saved, key, place))
    assert f"{key}={place} would be written outside" in refused("train", f"resume={folder}")
    write(folder, planted(saved, key, str(folder / "below")))
    assert RunFolder.open(folder).config


@pytest.mark.parametrize("place", ["local:///tmp", "file:///tmp", "s3://theirs", "dir::local://x"])
def test_an_address_is_no_folder_of_a_run(
    saved: dict[str, Any],
    folder: Path,
    refused: Refused,
    place: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)  # where an address looks like a folder below
    write(folder, planted(saved, "callbacks.best.dirpath", place))
    assert f"{place} would be written outside" in refused("train", f"resume={folder}")


def bomb() -> str:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text", [bomb(), "a: " + "[" * 900 + "]" * 900, "a: " + "x" * 2**21, "a: &a [*a]", "a: [", "{"]
)
def test_a_yaml_is_bounded_wherever_it_is_read(
    folder: Path, refused: Refused, tmp_path: Path, text: str
) -> None:
    (folder / "config.yaml").write_text(text)
    assert "cannot be read" in refused("evaluate", f"run={folder}")
    own = tmp_path / "own" / "data"
    own.mkdir(parents=True)
    (own / "shop.yaml").write_text(text)
    assert "cannot be read" in refused("show", "--config-dir", str(own.parent), "data=shop")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: !foo x\n", "shop.yaml, line 2: the tag !foo is not read"),
        ("!!python/object/apply:os.system [ls]", "line 1: the tag tag:yaml.org,2002:python/object"),
        ("? [a, b]\n: 3\n", "shop.yaml, line 1, column 3, cannot be read: found unhashable key."),
        ("a: !!int x\n", "shop.yaml cannot be read: invalid literal for int()"),
    ],
)
def test_what_is_more_than_plain_values_is_told_in_a_sentence(
    folder: Path, refused: Refused, tmp_path: Path, text: str, said: str
) -> None:
    own = tmp_path / "own" / "data"
    own.mkdir(parents=True)
    (own / "shop.yaml").write_text(text)
    (folder / "config.yaml").write_text(text)
    told = refused("show", "--config-dir", str(own.parent), "data=shop")
    assert said in told
    assert "\\n" not in told
    assert said.replace("shop", "config") in refused("evaluate", f"run={folder}")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"status": NaN}', f'{{"a": {"1" * 5000}}}'])
def test_a_json_is_bounded(folder: Path, refused: Refused, text: str) -> None:
    (folder / "run.json").write_text(text)
    assert "is not JSON" in refused("evaluate", f"run={folder}")


@pytest.mark.parametrize(
    "name", ["config.yaml", "run.json", "weights.safetensors", "checkpoints/last.ckpt", "csv"]
)
def test_no_link_leads_out_of_a_run_folder(
    folder: Path, refused: Refused, tmp_path: Path, name: str
) -> None:
    outside = tmp_path / "outside"
    outside.write_text("{}")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(outside)
    for command in (["evaluate", f"run={folder}"], ["train", f"resume={folder}"]):
        assert f"{folder / name} is a link" in refused(*command)


@pytest.mark.parametrize("name", ["train.log", "checksums.json", "csv/metrics.csv", "other"])
def test_nothing_in_a_run_folder_is_waited_for(folder: Path, refused: Refused, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    os.mkfifo(folder / name)
    for command in (["evaluate", f"run={folder}"], ["train", f"resume={folder}"]):
        assert f"{folder / name} is a pipe or a device" in refused(*command)


@pytest.mark.parametrize("name", ["wandb", ".wandb"])
def test_no_run_folder_says_where_wandb_sends_a_key(
    folder: Path, refused: Refused, name: str
) -> None:
    (folder / name).mkdir()
    (folder / name / "settings").write_text("[default]\nbase_url = http://127.0.0.1:9\n")
    assert f"{name}/settings may tell W&B" in refused("train", f"resume={folder}")


def test_a_link_to_itself_leads_nowhere(folder: Path) -> None:
    (folder / "loop").symlink_to("loop")
    assert RunFolder.open(folder).config


HYDRA = {
    "callbacks: {x: {_target_: os.system, command: touch HIT}}": "hydra.callbacks.x._target_",
    "callbacks: {x: '${baseline}'}\nbaseline: {_target_: os.system}": "baseline._target_",
    "launcher: {_target_: os.system}": "hydra.launcher._target_",
    "sweeper: {_target_: os.system}": "hydra.sweeper._target_",
    "job: {env_set: {WANDB_BASE_URL: 'http://x'}}": "hydra.job.env_set",
    "job: {env_copy: [LR_SECRET]}": "hydra.job.env",
    "job_logging: {version: 1, handlers: {x: {(): os.system, command: touch HIT}}}": "()=os.system",
    "hydra_logging: {version: 1, handlers: {x: {class: os.system}}}": "class=os.system",
}


@pytest.mark.parametrize("text", HYDRA)
@pytest.mark.parametrize("sweep", [[], ["-m", "seed=1,2"]])
def test_hydra_builds_nothing_that_is_not_on_the_list(
    refused: Refused,
    tmp_path: Path,
    hit: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    sweep: list[str],
) -> None:
    monkeypatch.setenv("LR_SECRET", "hunter2")
    own = tmp_path / "own" / "experiment"
    own.mkdir(parents=True)
    first, _, rest = text.replace("HIT", str(hit)).partition("\n")
    (own / "evil.yaml").write_text(f"# @package _global_\nhydra:\n  {first}\n{rest}\n")
    run = ["experiment=evil", f"run_dir={tmp_path / 'r'}", *sweep]
    assert HYDRA[text] in refused("train", "--config-dir", str(own.parent), *run)
    assert not (tmp_path / "r" / "run.json").exists()


@pytest.mark.parametrize(
    "flag",
    [
        "--config-name=x", "-cn=x", "--config-path=/x", "--experimental-rerun=x", "--exper=x",
        "hydra.searchpath=[pkg://json]",
    ],
)  # fmt: skip
def test_flags_of_hydra_that_go_round_our_configs(refused: Refused, flag: str) -> None:
    assert refused("train", flag)


@pytest.mark.parametrize("key", ["hydra.foo", "hydra.job.foo", "hydra.launcher.foo"])
def test_what_hydra_does_not_know_is_an_error(key: str) -> None:
    with pytest.raises(UserError, match=f"Unknown key {key}"):
        config.compose([f"+{key}=1"])


@pytest.mark.parametrize(
    "value", ["${oc.env:LR_SECRET}", "'${oc.decode:${oc.env:LR_SECRET}}'", "${oc.env:LR_SECRET,x}"]
)
def test_a_config_reads_no_variable_that_could_be_secret(
    refused: Refused, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str
) -> None:
    monkeypatch.setenv("LR_SECRET", "hunter2")
    own = tmp_path / "own" / "data"
    own.mkdir(parents=True)
    (own / "shop.yaml").write_text(f"defaults: [table, _self_]\nname: {value}\n")
    told = refused("show", "--config-dir", str(own.parent), "data=shop")
    assert "data.name: ${oc.env:LR_SECRET} is not read" in told
    assert "hunter2" not in told


def test_variables_that_are_ours_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTNING_REC_SHOP", "here")
    assert config.compose(["name=${oc.env:LIGHTNING_REC_SHOP}"]).name == "here"


def test_aliases_are_counted_as_what_they_stand_for() -> None:
    documents.check_yaml("x", "a: &a {b: 1}\nc: [*a, *a, {<<: *a}]")
    with pytest.raises(UserError, match="unfolds"):
        documents.check_yaml("x", bomb())


def test_no_secret_of_the_environment_is_in_a_run_folder(
    log_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LR_SECRET", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN"):
        monkeypatch.setenv(name, "hunter2hunter2")
    monkeypatch.setenv("WANDB_API_KEY", "hunter2" * 5 + "hunte")
    data = ["data=table", f"data.path={log_csv}", "data.user=uid", "data.item=sku", "data.time=ts"]
    run = ["model=popularity", "protocol.cutoffs=[1,5,10]", f"run_dir={tmp_path / 'r'}"]
    assert cli.run(["train", *data, *run, "logger=[wandb,csv,tensorboard]", "trainer=cpu"]) == 0
    files = [path for path in (tmp_path / "r").rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    assert not [path for path in files if b"hunter2" in path.read_bytes()]
