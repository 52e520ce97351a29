"""``lightning-rec shrink run=FOLDER to=FOLDER``: a run as ONNX, or in a quarter of the bytes."""

from pathlib import Path
from typing import Any, cast, get_args

from lightning_rec.commands.hydra_main import take_keys
from lightning_rec.commands.loading import loading
from lightning_rec.errors import UserError, suggest
from lightning_rec.files import name_of
from lightning_rec.screen import Screen
from lightning_rec.tables import FittedTable, figures, text

HELP = """\
The model of a run as a file that runs without PyTorch, and is smaller.

usage: lightning-rec shrink run=FOLDER to=FOLDER [method=onnx|int8]

FOLDER is a completed run: of a model of sequences that scores by inner
products, of clicks, a bi-encoder or a cross-encoder. method=onnx writes it as
ONNX, for any number of rows and any length; method=int8, besides, makes its
weights and the vectors of items eight-bit integers. What was written is held
against the model on real inputs. It needs the extra onnx.

Smaller by training: method=prune and method=distil of 'train'.

Examples:
  lightning-rec shrink run=runs/sasrec to=sasrec_onnx
  lightning-rec shrink run=runs/bi_encoder to=small method=int8
  lightning-rec shrink run=FOLDER to=FOLDER method=int8
"""


def run(arguments: list[str]) -> int:
    """Write the folder and say what it holds. Raises UserError on bad input."""
    said, rest = take_keys(arguments, "run", "to", "method")
    if rest:
        raise UserError(f"'{rest[0]}' is not understood: shrink takes run=, to= and method=.")
    if not said.get("run") or not said.get("to"):
        raise UserError("Say which run, and where to: lightning-rec shrink run=FOLDER to=FOLDER")
    folder, to = Path(said["run"]), Path(said["to"])
    with loading():
        from lightning_rec.build import load_run
        from lightning_rec.shrink.folder import Method, shrink

    methods, method = get_args(Method), cast(Any, said.get("method", "onnx"))
    if method not in methods:
        raise UserError(f"Unknown method '{method}'.{suggest(method, methods)}")
    console: Any = Screen()
    predictor = load_run(folder)
    with Screen(stderr=True).status(f"writing {to}"):
        made = shrink(predictor, to, method, name_of(folder.absolute()))
    before = (folder / "weights.safetensors").stat().st_size
    shown = FittedTable(str(to), [*text("of"), *figures("MB", "largest error", "largest output")])
    shown.add_row(f"{predictor.name}, weights of the run", f"{before / 1e6:.2f}", "", "")
    shown.add_row(method, f"{made.bytes / 1e6:.2f}", f"{made.apart:.2g}", f"{made.largest:.3g}")
    console.print(shown)
    return 0
