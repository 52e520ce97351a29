"""Loading without collecting garbage, and everything as before afterwards."""

import subprocess
import sys

CODE = """
import gc
from lightning_rec.commands.loading import loading

assert not gc.get_freeze_count()
try:
    with loading():
        assert not gc.isenabled()
        import torch
        raise KeyError("a module that is not there")
except KeyError:
    pass
assert gc.isenabled()
frozen = gc.get_freeze_count()
assert frozen > 10_000
with loading():  # loaded already, as in the second job of a sweep
    assert gc.isenabled()
assert gc.get_freeze_count() <= frozen  # no more; some may have gone
"""


def test_garbage_is_left_alone_while_modules_load_and_only_then() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


LATER = """
import sys
from lightning_rec.commands.loading import loading

with loading():
    from lightning_rec import training
assert not {"transformers", "scipy.signal", "sklearn", "wandb", "matplotlib"} & set(sys.modules)
from torchmetrics.functional.text import bert
import transformers, scipy.signal

assert bert.AutoTokenizer.from_pretrained == transformers.AutoTokenizer.from_pretrained
assert scipy.signal.windows.hann(3).tolist() == [0, 1, 0]

import torch
from torchmetrics.classification import BinaryAUROC, MulticlassConfusionMatrix

area, matrix = BinaryAUROC(), MulticlassConfusionMatrix(3)
area.update(torch.tensor([0.1, 0.8]), torch.tensor([0, 1]))
matrix.update(torch.arange(3), torch.arange(3))
import matplotlib.pyplot as plt

for metric in (area, matrix):
    figure, axes = metric.plot()
    assert isinstance(figure, plt.Figure)
"""


def test_what_no_run_needs_is_imported_once_it_is_used() -> None:
    done = subprocess.run([sys.executable, "-c", LATER], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
