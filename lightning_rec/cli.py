"""``lightning-rec VERB [overrides]``: finds the verb, and turns errors into one sentence each."""

import errno
import os
import sys
from importlib import import_module

from lightning_rec import __version__
from lightning_rec.commands import VERBS, take_flag
from lightning_rec.commands.usage import usage
from lightning_rec.errors import LeakError, UserError, out_of_memory, suggest
from lightning_rec.passwords import take_passwords, without_passwords
from lightning_rec.streams import one_line, tolerate
from lightning_rec.trust import forget, trust

USAGE = """\
lightning-rec {version}: recommenders you can trust

usage: lightning-rec VERB [overrides] [--trust MODULE[,MODULE]] [--traceback]

{verbs}

lightning-rec VERB --help shows what a verb takes.
--traceback shows where an error came from.
--trust names modules, besides our own, whose code a run folder may ask for.

eval "$(lightning-rec completion bash)" completes verbs, groups, choices and
keys at the tabulator; zsh and fish likewise.
"""
DISK = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file would become larger than allowed (ulimit -f)",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "no permission",
    errno.EPERM: "not permitted",
}


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    tolerate()
    arguments = sys.argv[1:]
    traceback = "--traceback" in arguments
    arguments = [argument for argument in arguments if argument != "--traceback"]
    try:
        sys.exit(run(arguments))
    except KeyboardInterrupt as stop:
        _complain(f"interrupted; {stop}" if str(stop) else "interrupted.")
        sys.exit(130)
    except Exception as error:
        if traceback:
            raise
        _complain(
            one_line(without_passwords(explain(error))), everywhere=not isinstance(error, UserError)
        )
        sys.exit(2 if isinstance(error, UserError) else 1)


def run(arguments: list[str]) -> int:
    """Run one verb with its arguments; returns the exit status. Raises UserError on bad input."""
    forget()
    arguments = take_passwords(arguments)
    named, arguments = take_flag(arguments, "--trust")
    if not all(named):
        raise UserError("Say which modules are trusted: --trust my_package")
    for names in named:
        trust(names)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        verbs = "\n".join(f"  {verb:<11}{what}" for verb, what in VERBS.items())
        print(USAGE.format(version=__version__, verbs=verbs))
        return 0
    if arguments[0] in ("--version", "version"):
        print(__version__)
        return 0
    verb, *rest = arguments
    if verb not in (*VERBS, "_worker"):
        raise UserError(f"Unknown verb '{verb}'.{suggest(verb, VERBS)}")
    command = import_module(f"lightning_rec.commands.{verb}")
    if {"-h", "--help"} & set(rest) and verb in VERBS:
        print(usage(command.HELP, rest))
        return 0
    return command.run(rest)


def explain(error: BaseException) -> str:
    """One sentence for any error: what is known to go wrong in plain words, the rest by name."""
    if isinstance(error, (UserError, LeakError)):
        return str(error)
    if isinstance(error, OSError) and error.errno in DISK:
        where = f": {error.filename}" if error.filename else ""
        return (
            f"Cannot write, {DISK[error.errno]}{where}. Mend that, and go on with resume=FOLDER if "
            "a run had begun, or choose another folder with run_dir=…"
        )
    if isinstance(error, OSError) and error.errno == errno.ENOTEMPTY and error.filename2:
        return f"{error.filename2} is there already: another command wrote it meanwhile."
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return f"{str(error.filename)[:40]}… is longer than a file may be called."
    if out_of_memory(error):
        return (
            f"There is not enough memory. Lower batches.batch_size, batches.eval_batch_size or the "
            f"sizes of the model ({error})"
        )
    return f"{type(error).__name__}: {error} (--traceback shows where)"


def _complain(message: str, *, everywhere: bool = False) -> None:
    """Print an error; of several processes only the first speaks, unless it is its own error."""
    rank = os.environ.get("LOCAL_RANK", "0")
    if rank == "0":
        print(f"error: {message}", file=sys.stderr)
    elif everywhere:
        print(f"error in process {rank}: {message}", file=sys.stderr)
