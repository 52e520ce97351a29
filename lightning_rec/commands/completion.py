"""``lightning-rec completion``: what a shell offers at the tabulator.

The config is put together here by reading YAML alone: a shell does not wait for Hydra's import.
"""

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from lightning_rec.commands import VERBS
from lightning_rec.errors import UserError, nearest
from lightning_rec.trust import config_dir

HELP = """\
Tab completion of verbs, groups, choices and keys.

usage: lightning-rec completion bash|zsh|fish

Prints what a shell has to run. For every shell to come:
  echo 'eval "$(lightning-rec completion bash)"' >> ~/.bashrc
  echo 'eval "$(lightning-rec completion zsh)"' >> ~/.zshrc    # after compinit
  lightning-rec completion fish > ~/.config/fish/completions/lightning-rec.fish

Examples:
  eval "$(lightning-rec completion bash)"
  eval "$(lightning-rec completion zsh)"
  lightning-rec completion fish | source
"""
BASH = r"""_lightning_rec() {
  local line="${COMP_LINE:0:COMP_POINT}" IFS=$'\n'
  COMPREPLY=($(lightning-rec completion words "$line" 2>/dev/null))
  # Readline replaces what follows the last character that it breaks words at.
  if [[ "${line##*[[:space:]]}" =~ ^(.*[=@:]) ]]; then
    COMPREPLY=("${COMPREPLY[@]#"${BASH_REMATCH[1]}"}")
  fi
  if [[ "${COMPREPLY[0]}" == *[=.] ]]; then compopt -o nospace; fi
}
complete -o default -F _lightning_rec lightning-rec
"""
ZSH = r"""_lightning_rec() {
  local -a found open
  local line="${(j: :)words[1,CURRENT-1]} $PREFIX"
  found=("${(@f)$(lightning-rec completion words "$line" 2>/dev/null)}")
  found=(${found:#})
  if (( ! $#found )); then compset -P '*='; _files; return; fi
  open=(${(M)found:#*[=.]})
  found=(${found:#*[=.]})
  compadd -Q -S '' -- $open
  compadd -Q -- $found
}
compdef _lightning_rec lightning-rec
"""
FISH = r"""function __lightning_rec
  lightning-rec completion words (commandline -cp) 2>/dev/null
end
complete -c lightning-rec -a '(__lightning_rec)'
"""
SHELLS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
FLAGS = ("--help", "--config-dir", "--multirun", "--trust", "--traceback")
KEYS = {"evaluate": ("run=",), "train": ("resume=",), "show": ()}  # of verbs that take overrides
OTHERS = {  # what further verbs take
    "data": ("check", "schema", "name="),
    "search": ("run=", "k="),
    "completion": tuple(SHELLS),
}
_SCANNER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_OVERRIDE = re.compile(r"override /(?P<group>\w+(?:@(?!_global_)[\w.]+)?).*")


def run(arguments: list[str]) -> int:
    """Print the script of a shell, or, of ``words LINE``, what goes on a line, one in each line.

    Raises UserError if there is no such shell.
    """
    if not arguments or {"-h", "--help"} & set(arguments):
        print(HELP)
        return 0
    if arguments[0] == "words":
        print("\n".join(candidates(arguments[1] if len(arguments) > 1 else "")))
        return 0
    if arguments[0] not in SHELLS:
        raise UserError(
            f"Unknown shell '{arguments[0]}'.{nearest(arguments[0], SHELLS)} There are: "
            f"{', '.join(SHELLS)}."
        )
    print(SHELLS[arguments[0]], end="")
    return 0


def candidates(line: str) -> list[str]:
    """Words that the last one of a command line could become, sorted; none where files fit."""
    try:
        words = shlex.split(line)
    except ValueError:  # within a quote
        return []
    if not words or line[-1:].isspace():
        words.append("")
    _, *said, current = words if len(words) > 1 else ["", *words]
    if not said:
        return _beginning(current, [*VERBS, "--help", "--version"])
    verb, *said = said
    if said[-1:] in (["--config-dir"], ["-cd"], ["--trust"]) or verb not in VERBS:
        return []
    if current.startswith("-"):
        return _beginning(current, FLAGS)
    folders = [config_dir(), *_folders(said)]
    if verb in KEYS:
        return _overrides(folders, said, current, KEYS[verb])
    if verb == "data" and current.startswith("name="):
        return _beginning(current, (f"name={name}" for name in _choices(folders, "data")))
    return _beginning(current, OTHERS[verb])


def _overrides(
    folders: list[Path], said: Sequence[str], current: str, further: Sequence[str]
) -> list[str]:
    """Of a word of Hydra's: a group or a key, and after ``=`` a choice, or true and false."""
    sign = re.match(r"[+~]*", current)[0]  # type: ignore[index]
    key, equals, value = current.removeprefix(sign).partition("=")
    group = key.partition("@")[0]
    if equals:
        before = re.match(r"(.*[\[,])?", value)[0]  # type: ignore[index]  # of a list or a sweep
        found = _choices(folders, group) or _truths(_at(_tree(folders, said), key.split(".")))
        return _beginning(current, (f"{sign}{key}={before}{each}" for each in found))
    tree = _tree(folders, said)
    parent, dot, _ = key.rpartition(".")
    node = _at(tree, parent.split(".")) if dot else tree
    names = [
        f"{parent}{dot}{name}" + ("." if isinstance(child, dict) and child else "=")
        for name, child in (node.items() if isinstance(node, dict) else ())
        if not name.startswith("_")
    ]
    if not dot:
        names += [f"{each}=" for each in _groups(folders)] + ["model@encoder.model=", *further]
    if sign.startswith("~"):  # it leaves a key or a group out
        names = [name.rstrip("=.") for name in names]
    return _beginning(current, (sign + name for name in names))


def _beginning(current: str, names: Iterable[str]) -> list[str]:
    return sorted({name for name in names if name.startswith(current)})


def _truths(value: Any) -> list[str]:
    return ["true", "false"] if isinstance(value, bool) else []


def _folders(said: Sequence[str]) -> Iterator[Path]:
    """The further folders of configs that a command line names."""
    for word, following in pairwise([*said, ""]):
        if word in ("--config-dir", "-cd"):
            yield Path(following).expanduser()
        elif word.startswith("--config-dir="):
            yield Path(word.partition("=")[2]).expanduser()


def _groups(folders: list[Path]) -> set[str]:
    return {path.parent.name for folder in folders for path in folder.glob("*/*.yaml")}


def _choices(folders: list[Path], group: str) -> list[str]:
    return [path.stem for folder in folders for path in (folder / group).glob("*.yaml")]


def _at(tree: Any, path: Sequence[str]) -> Any:
    for step in path:
        tree = tree.get(step) if isinstance(tree, dict) else None
    return tree


def _tree(folders: list[Path], said: Sequence[str]) -> dict[str, Any]:
    """The keys of the config that a command line composes, as far as YAML alone tells."""
    spine = yaml.load((folders[0] / "train.yaml").read_text("utf-8"), _SCANNER)
    parts = [part for part in spine.pop("defaults") if isinstance(part, dict)]
    chosen = {group: name for part in parts for group, name in part.items() if " " not in group}
    asked: dict[str, Any] = {}
    for word in said:
        key, _, value = word.lstrip("+").partition("=")
        asked[key] = re.split(r"[\[\],]+", value.strip("[]"))
    groups = _groups(folders)
    chosen |= {key: value for key, value in asked.items() if key.partition("@")[0] in groups}
    for group in ("experiment", "model", "task"):  # what is chosen brings others along, and wins
        for name in _listed(chosen.get(group)):
            brought = dict(_brought(folders, group, name))
            chosen |= {key: value for key, value in brought.items() if key not in asked}
            asked |= brought
    tree: dict[str, Any] = spine
    for key, names in chosen.items():
        group, _, place = key.removeprefix("/").partition("@")
        for name in _listed(names):
            _merge(tree, _read(folders, group, name, place or group))
    return tree


def _listed(value: Any) -> list[str]:
    return [str(each) for each in (value if isinstance(value, list) else [value]) if each]


def _file(folders: list[Path], group: str, name: str) -> tuple[dict[str, Any], bool]:
    """A choice as it is written, or nothing, and whether it speaks of the whole config."""
    for folder in folders:  # the first wins, as Hydra has it
        path = folder / group / f"{name}.yaml"
        if path.is_file():
            text = path.read_text("utf-8")
            return yaml.load(text, _SCANNER) or {}, "@package _global_" in text
    return {}, False


def _brought(folders: list[Path], group: str, name: str) -> Iterator[tuple[str, Any]]:
    """The choices of other groups that a choice makes."""
    for each in _file(folders, group, name)[0].get("defaults", ()):
        for key, value in each.items() if isinstance(each, dict) else ():
            if found := _OVERRIDE.fullmatch(key):
                yield found["group"], value


def _read(folders: list[Path], group: str, name: str, place: str) -> dict[str, Any]:
    """What a choice adds to the whole config, those that it begins with included."""
    said, everywhere = _file(folders, group, name)
    tree: dict[str, Any] = {}
    for each in said.pop("defaults", ()):
        if isinstance(each, str) and each != "_self_":
            base, _, where = each.partition("@")
            _merge(tree, _read(folders, group, base, where or place))
    own: Any = said
    for step in () if everywhere else reversed(place.split(".")):
        own = {step: own}
    _merge(tree, own)
    return tree


def _merge(tree: dict[str, Any], other: dict[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            tree[key] = value
