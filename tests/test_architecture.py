"""The house stands as drawn: imports look left, files are short, all is documented, no pickles."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lightning_rec

PACKAGE = Path(lightning_rec.__file__).parent
FILES = sorted(path for path in PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(PACKAGE)) for path in FILES]
# Each room may import those before it, and itself; rooms on one line may not see each other.
ORDER = [
    {"errors", "files", "needs", "ranges", "streams", "threads"},
    {"passwords"},
    {"screen"},
    {"documents", "tables", "trust"},
    {"figures", "building"},
    {"composing"},
    {"config"},
    {"compat"},
    {"data"},
    {"language"},
    {"models"},
    {"objectives", "losses"},
    {"metrics"},
    {"adapters"},
    {"methods"},
    {"retrieval"},
    {"tasks"},
    {"runs"},
    {"items"},
    {"rules"},
    {"predict"},
    {"answers", "feeds", "shrink", "trials"},
    {"monitoring", "simulation"},
    {"problems"},
    {"build"},
    {"bundle"},
    {"serving"},
    {"lab"},
    {"demand", "reports"},
    {"training"},
    {"commands"},
    {"api"},
    {"cli"},
    {"__main__"},
]
PLACE = {room: place for place, rooms in enumerate(ORDER) for room in rooms}


def tree(name: str) -> ast.Module:
    return ast.parse((PACKAGE / name).read_text())


def room(name: str) -> str:
    return name.split("/")[0].removesuffix(".py")


def imported(name: str) -> set[str]:
    """Everything that a file imports, functions' own imports included, as dotted names."""
    found = set()
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name} has a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_no_two_test_files_have_the_same_name() -> None:
    """Pytest imports them as modules by that name, and collects but one of two."""
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_every_room_has_its_place() -> None:
    assert {room(name) for name in NAMES} - {"__init__"} == set(PLACE)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "__init__.py"])
def test_imports_only_look_left(name: str) -> None:
    here = room(name)
    for module in imported(name):
        parts = module.split(".")
        there = parts[1] if parts[0] == "lightning_rec" else here
        if there == "__version__" or there == here:
            continue
        assert PLACE[there] < PLACE[here], f"{name} imports {module}"


@pytest.mark.parametrize("name", [name for name in NAMES if room(name) == "models"])
def test_models_know_no_framework_no_config_and_no_path(name: str) -> None:
    barred = {
        "pytorch_lightning",
        "lightning",
        "hydra",
        "omegaconf",
        "wandb",
        "pathlib",
        "os",
        "logging",
    }
    assert not {module.split(".")[0] for module in imported(name)} & barred


def test_config_loads_neither_torch_nor_lightning() -> None:
    heavy = {"torch", "pytorch_lightning", "torchmetrics", "wandb", "polars"}
    for name in ("config.py", "errors.py", "files.py", "cli.py"):
        assert not {module.split(".")[0] for module in imported(name)} & heavy, name


def test_a_shell_does_not_wait_for_completion() -> None:
    """What is loaded to complete a word: neither Hydra nor anything slower."""
    line = "from lightning_rec.cli import run; run(['completion', 'words', 'lightning-rec train model=b'])"
    script = f"import sys; {line}; print(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = {module.split(".")[0] for module in done.stdout.splitlines()}
    assert "model=bert4rec" in done.stdout
    slow = {
        "torch",
        "pytorch_lightning",
        "polars",
        "numpy",
        "hydra",
        "omegaconf",
        "pydantic",
        "rich",
    }
    assert not loaded & slow


@pytest.mark.parametrize("name", NAMES)
def test_what_is_public_is_documented(name: str) -> None:
    module = tree(name)
    if module.body:
        assert ast.get_docstring(module), f"{name} has no docstring"
    owners: list[ast.Module | ast.ClassDef] = [
        module,
        *(node for node in module.body if isinstance(node, ast.ClassDef)),
    ]
    for owner in owners:
        if isinstance(owner, ast.ClassDef) and owner.name.startswith("_"):
            continue
        for node in owner.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{name}: {node.name} has no docstring"


@pytest.mark.parametrize("name", NAMES)
def test_files_and_functions_stay_short(name: str) -> None:
    assert len((PACKAGE / name).read_text().splitlines()) <= 300
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
            body = node.end_lineno - node.body[0].lineno + 1
            assert body <= 50, f"{name}: {node.name} has {body} lines"


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_unpickled_or_evaluated(name: str) -> None:
    modules = {module.split(".")[0] for module in imported(name)}
    assert not modules & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    text = (PACKAGE / name).read_text()
    assert not re.search(r"(?<!save_)weights_only\s*=\s*False|allow_pickle\s*=\s*True", text)
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Call):
            assert not (isinstance(node.func, ast.Name) and node.func.id in {"eval", "exec"}), name
            loads = ast.unparse(node.func) in {"torch.load", "load_from_checkpoint", "np.load"}
            safe = {"weights_only", "allow_pickle"} & {keyword.arg for keyword in node.keywords}
            assert not loads or safe, f"{name}:{node.lineno} loads without saying how"


@pytest.mark.parametrize("name", NAMES)
def test_texts_are_read_as_utf8_whatever_the_locale(name: str) -> None:
    assert ".read_text()" not in (PACKAGE / name).read_text(encoding="utf-8")


def test_models_losses_objectives_and_metrics_are_imported_without_lightning() -> None:
    rooms = {"models", "losses", "objectives", "metrics"}
    modules = [
        "lightning_rec." + name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in NAMES
        if room(name) in rooms
    ]
    program = f"import sys\nfor name in {modules}:\n    __import__(name)\n"
    program += "print({'lightning', 'pytorch_lightning'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stdout + done.stderr
