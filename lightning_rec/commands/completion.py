"""``lightning-rec completion``: what a shell offers at the tabulator."""

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lightning_rec.commands import CONFIG_DIR, VERBS, take_flag
from lightning_rec.commands.usage import choices
from lightning_rec.errors import UserError, suggest

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
# Of verbs that take overrides: their own keys.
KEYS: dict[str, tuple[str, ...]] = {
    "evaluate": ("run=",),
    "train": ("resume=", "check_memory="),
    "show": (),
}
RULES = (
    "allow=",
    "deny=",
    "where=",
    "boosts=",
    "at=",
    "per=",
    "diversity=",
    "calibration=",
    "explore=",
    "seed=",
)
OTHERS = {  # what further verbs take
    "data": ("check", "schema", "name="),
    "search": ("run=", "k="),
    "answer": ("model=", "confidence=", "least=", "k=", "wording="),
    "recommend": ("model=", "user=", "history=", "k=", "seen=", *RULES, "overwrite=", "restart="),
    "similar": ("model=", "item=", "by=", "k=", *RULES[:3]),
    "explain": (
        "model=",
        "user=",
        "history=",
        "item=",
        "graph=",
        "k=",
        "paths=",
        "hops=",
        "names=",
    ),
    "popular": (
        "model=",
        "k=",
        "per=",
        "where=",
        "half_life=",
        "trending=",
        "at=",
        "item=",
        "user=",
        "time=",
    ),
    "profile": ("model=", "user=", "history=", "k=", "to=", "overwrite="),
    "predict": ("model=", "overwrite=", "restart="),
    "vectors": ("model=", "of=", "to=", "overwrite="),
    "ids": ("vectors=", "from=", "to=", "quantizer=", "levels=", "codes=", "unique=", "seed="),
    "compare": ("figures=", "baseline=", "level=", "to="),
    "report": ("figures=", "baseline=", "level=", "to=", "title=", "plots="),
    "ensemble": ("by=", "weights=", "k=", "to="),
    "pipeline": ("quotas=", "ranker=", "negatives=", "seed=", "held=", "stages=", "to="),
    "completion": tuple(SHELLS),
}


def run(arguments: list[str]) -> int:
    """Print the script of a shell, or, of ``words LINE``, candidates for the last word."""
    if not arguments:
        print(HELP)
        return 0
    if arguments[0] == "words":
        print("\n".join(candidates(arguments[1] if len(arguments) > 1 else "")))
        return 0
    if arguments[0] not in SHELLS:
        raise UserError(f"Unknown shell '{arguments[0]}'.{suggest(arguments[0], SHELLS)}")
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
    if verb not in VERBS or (said and said[-1] in (*CONFIG_DIR, "--trust")):
        return []
    if current.startswith("-"):
        return _beginning(current, FLAGS)
    own, said = take_flag(said, *CONFIG_DIR)
    folders = [Path(folder).expanduser() for folder in own]
    if verb in KEYS:
        said = [each for each in said if not each.startswith(KEYS[verb])]
        return _overrides(folders, said, current, KEYS[verb])
    if verb == "data" and current.startswith("name="):
        return _beginning(current, (f"name={name}" for name in choices(folders)["data"]))
    return _beginning(current, OTHERS.get(verb, ()))


def _overrides(
    folders: list[Path], said: Sequence[str], current: str, further: Sequence[str]
) -> list[str]:
    """Candidates for an override: groups and keys, after ``=`` choices, or true and false."""
    sign = current[: len(current) - len(current.lstrip("+~"))]
    key, equals, value = current.removeprefix(sign).partition("=")
    groups, group = choices(folders), key.partition("@")[0]
    if equals:
        before = value[: max(value.rfind("["), value.rfind(",")) + 1]  # of a list or a sweep
        is_flag = group not in groups and isinstance(_composed(folders, said, key), bool)
        found = ("true", "false") if is_flag else groups.get(group, ())
        return _beginning(current, (f"{sign}{key}={before}{each}" for each in found))
    parent, dot, _ = key.rpartition(".")
    node = _composed(folders, said, parent)
    names = [
        f"{parent}{dot}{name}" + ("." if isinstance(child, dict) and child else "=")
        for name, child in (node.items() if isinstance(node, dict) else ())
        if not name.startswith("_")
    ]
    if not dot:
        names += [f"{each}=" for each in groups] + ["model@encoder.model=", *further]
    if sign.startswith("~"):  # it leaves a key or a group out
        names = [name.rstrip("=.") for name in names]
    return _beginning(current, (sign + name for name in names))


def _beginning(current: str, names: Iterable[str]) -> list[str]:
    return sorted({name for name in names if name.startswith(current)})


def _composed(folders: Sequence[Path], said: Sequence[str], key: str) -> Any:
    """What a config holds at a dotted key; where overrides do not fit, the config without them."""
    from omegaconf import OmegaConf

    from lightning_rec.config import compose  # takes longer than all else here

    # Of the values of a sweep the last one counts.
    overrides = [re.sub(r"=[^\[]*,", "=", each) for each in said if not each.startswith("-")]
    try:
        cfg = compose(overrides, folders)
    except UserError:
        cfg = compose([], folders)
    value: Any = OmegaConf.to_container(cfg, resolve=False)
    for step in filter(None, key.split(".")):
        value = value.get(step) if isinstance(value, dict) else None
    return value
