"""What a GPU makes of it, in one script below eight minutes: ``make bench-gpu``.

Speed of SASRec and BERT4Rec (MovieLens-1M, 32 and 16 bits), DeepFM (Frappe) and LoRA over MiniLM,
the published SASRec+ row against the clock, the same figures on the CPU, a resumed run beside an
unbroken one, and RecTools' and RePlay's SASRec where these are installed. Needs no network: data
comes from ``--data``, the layout of ``LIGHTNING_REC_DATA``. The JSON is written after each part,
so that a run that is cut off counts as far as it came. With ``--device cpu --tiny`` every part runs
in little, to see that the script works where no card is.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch.utils.flop_counter import FlopCounterMode

from lightning_rec import config
from lightning_rec.build import problem_of
from lightning_rec.data.fetch import cache_dir
from lightning_rec.errors import UserError
from lightning_rec.files import write_json
from lightning_rec.runs import provenance
from lightning_rec.runs.folder import RunFolder
from lightning_rec.training import evaluate, resume, train

# Dense FLOP/s of the data sheets: products of 32 bits (TF32 is not used) and of 16 bits.
PEAKS = {"H100": (67e12, 989e12), "H200": (67e12, 989e12), "A100": (19.5e12, 312e12)}
TOLERANCE = 0.002  # of figures on the CPU, against those of a GPU
PEERS = {
    "rectools": "benchmarks.sequences.rectools_peer",
    "replay": "benchmarks.sequences.replay_nn_peer",
}


class Bench:
    """Settings of all parts."""

    def __init__(self, device: str, tiny: bool, deadline: float) -> None:
        self.device, self.tiny, self.deadline = device, tiny, deadline
        self.on = [f"trainer.accelerator={device}", "trainer.devices=1"]
        self.folder = Path(tempfile.mkdtemp(prefix="bench_gpu_"))
        self.warmup, self.steps = (1, 2) if tiny else (10, 50)

    def compose(self, *overrides: str) -> DictConfig:
        """A config of this device."""
        return config.compose([*overrides, *self.on, "logger=csv", "callbacks=[checkpoint]"])

    def parts(self, cfg: DictConfig) -> tuple[Any, Any]:
        """The task and its data."""
        problem = problem_of(cfg)
        loaded = problem.load(cache_dir())
        data = problem.make_data(loaded)
        return problem.make_task(loaded, data), data


def settled(device: torch.device) -> float:
    """The time, once the device has done what it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def steps(bench: Bench, cfg: DictConfig, sixteen: bool) -> dict[str, Any]:
    """Training steps as the task has them, without Lightning around them."""
    task, data = bench.parts(cfg)
    device = torch.device("cuda" if bench.device == "gpu" else "cpu")
    task.to(device).train().setup("fit")
    optimizer = task.make_optimizer([p for p in task.parameters() if p.requires_grad])
    cast = torch.autocast(device.type, torch.bfloat16, enabled=sixteen)
    counts, flops, began = {"rows": 0, "tokens": 0}, 0, 0.0
    for number, batch in enumerate(_endless(data)):
        if number == bench.warmup:
            counts, began = dict.fromkeys(counts, 0), settled(device)
        batch = task.transfer_batch_to_device(batch, device, 0)
        counting = FlopCounterMode(display=False) if number == 0 else None
        with counting or contextlib.nullcontext():
            with cast:
                loss = task.training_loss(batch)
            optimizer.zero_grad()
            loss.backward()
        flops = counting.get_total_flops() if counting else flops
        optimizer.step()
        for name, count in _size(batch).items():
            counts[name] += count
        if number + 1 == bench.warmup + bench.steps:
            break
    seconds = settled(device) - began
    task.teardown("fit")
    peak = _peak(sixteen) if device.type == "cuda" else None
    reached = flops * bench.steps / seconds
    return {
        "steps_per_second": round(bench.steps / seconds, 2),
        **{f"{k}_per_second": round(v / seconds) for k, v in counts.items() if v},
        "flops_per_second": reached,
        "share_of_peak": round(reached / peak, 4) if peak else None,
        "peak_memory_mib": _memory(device),
    }


def sequences(bench: Bench) -> dict[str, Any]:
    """Sequences and tokens a second, at the batch of the papers and at eight times that."""
    found = {}
    for model in ("sasrec", "bert4rec"):
        for size in (128, 1024):
            for precision in ("fp32", "bf16"):
                small = ["model.dim=8", "batches.max_len=20"] if bench.tiny else []
                cfg = bench.compose(
                    f"experiment={model}_ml1m", f"batches.batch_size={size}", *small
                )
                found[f"{model}, batch {size}, {precision}"] = steps(
                    bench, cfg, precision == "bf16"
                )
    return found


def clicks(bench: Bench) -> dict[str, Any]:
    """DeepFM on Frappe: rows a second."""
    return {"deepfm": steps(bench, bench.compose("experiment=deepfm_frappe"), sixteen=False)}


def texts(bench: Bench) -> dict[str, Any]:
    """LoRA in MiniLM's top layer: steps a second."""
    short = ["item.max_tokens=4"] if bench.tiny else []
    cfg = bench.compose("experiment=text_sasrec_beauty", "adapter=lora", "adapter.top=1", *short)
    return {"lora": steps(bench, cfg, sixteen=False)}


def published(bench: Bench) -> dict[str, Any]:
    """The SASRec+ row of MovieLens-1M against the clock, then its figures on the CPU."""
    folder = bench.folder / "published"
    minutes = max(0.5, min(2.5, (bench.deadline - time.perf_counter()) / 60 - 2))
    small = ["model.dim=8", "batches.max_len=20", "trainer.max_epochs=1"] if bench.tiny else []
    limit = f"00:00:{int(minutes):02d}:{int(minutes % 1 * 60):02d}"
    asked = ("experiment=sasrec_ml1m", f"trainer.max_time={limit}", f"run_dir={folder}")
    cfg = bench.compose(*asked, *small)
    train(cfg, folder, [])
    run = RunFolder.open(folder)
    recorded = run.metrics
    _, again = evaluate(folder, ["trainer.accelerator=cpu"])
    names = ("val/ndcg@10", "test/ndcg@10", "test/recall@10")
    differences = {name: again[name] - recorded[name] for name in names}
    return {
        "took": run.card["seconds"],
        "epochs": run.card["cost"]["epochs"],
        "figures": {name: recorded[name] for name in names},
        "published": {"test/recall@10": 0.3152, "test/ndcg@10": 0.1821},
        "cpu_minus_here": differences,
        "within_tolerance": all(abs(value) <= TOLERANCE for value in differences.values()),
        "tolerance": TOLERANCE,
    }


def resumed(bench: Bench) -> dict[str, Any]:
    """Two epochs at once, and one that is gone on with: the same figures to the bit, or not."""
    small = ["model.dim=16", "batches.max_len=20", "trainer.check_val_every_n_epoch=1"]
    figures = []
    for name, epochs in (("whole", 2), ("halved", 1)):
        folder = bench.folder / name
        cfg = bench.compose(
            "experiment=sasrec_ml1m", f"run_dir={folder}", f"trainer.max_epochs={epochs}", *small
        )
        train(cfg, folder, [])
        if epochs == 1:
            resume(folder, ["trainer.max_epochs=2"])
        figures.append(RunFolder.open(folder).metrics)
    whole, halved = figures
    name = "test/ndcg@10"
    return {"equal": whole == halved, "whole": whole[name], "resumed": halved[name]}


def peers(bench: Bench) -> dict[str, Any]:
    """SASRec of the peers, by the scripts that measure them on a CPU, and ours beside them."""
    path = Path(os.environ["LIGHTNING_REC_DATA"]) / "ml-1m" / "ml-1m.txt.gz"
    scripts = {"ours": "benchmarks.sequences.ours"}
    scripts |= {name: each for name, each in PEERS.items() if importlib.util.find_spec(name)}
    found: dict[str, Any] = {}
    for name, module in scripts.items():
        out = bench.folder / f"{name}.json"
        sizes = ["--steps", "50"]
        if bench.tiny:
            sizes = ["--steps", "2", "--windows", "1", "--warmup", "1"]
        command = [sys.executable, "-m", module, "--data", str(path), "--model", "sasrec"]
        command += ["--measure", "speed", "--accelerator", bench.device, "--out", str(out), *sizes]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        found[name] = json.loads(out.read_text()) if not done.returncode else done.stderr[-500:]
    return found


def tests(bench: Bench) -> dict[str, Any]:
    """The tests marked gpu."""
    line = [sys.executable, "-m", "pytest", "-q", "--tb=line", "-m", "gpu", "tests/test_gpu.py"]
    if importlib.util.find_spec("xdist"):
        line += ["-n", "8"]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=180)
    return {"exit": done.returncode, "end": done.stdout[-3000:]}


PARTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "sequences": sequences,
    "clicks": clicks,
    "published": published,
    "resumed": resumed,
    "texts": texts,
    "peers": peers,
    "tests": tests,
}


def main() -> None:
    """Run part after part until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="as LIGHTNING_REC_DATA")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/gpu.json"))
    parser.add_argument("--device", choices=["gpu", "cpu"], default="gpu")
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[*PARTS])
    parser.add_argument("--tiny", action="store_true", help="every part in little")
    args = parser.parse_args()
    if args.device == "gpu" and not torch.cuda.is_available():
        parser.error("there is no GPU here; --device cpu --tiny shows that the script works")
    os.environ["LIGHTNING_REC_DATA"] = str(args.data.absolute())
    began = time.perf_counter()
    bench = Bench(args.device, args.tiny, began + 60 * args.minutes)
    card = provenance.card()
    record: dict[str, Any] = {
        **{key: card[key] for key in ("version", "commit", "dirty", "machine", "packages")},
        "started": provenance.now(),
        "device": torch.cuda.get_device_name() if args.device == "gpu" else "cpu",
        "tiny": args.tiny,
        "parts": {},
    }
    for name in args.parts:
        part = time.perf_counter()
        if part > bench.deadline:
            found: dict[str, Any] = {"left_out": "the time was over"}
        else:
            try:
                found = PARTS[name](bench)
            except (UserError, RuntimeError, OSError, subprocess.SubprocessError) as error:
                found = {"failed": f"{type(error).__name__}: {error}"}
        record["parts"][name] = found | {"seconds": round(time.perf_counter() - part, 1)}
        print(name, record["parts"][name], flush=True)
        write_json(args.out, record)


def _endless(data: Any) -> Any:
    epoch, loader = 0, data.loader("train")
    while True:
        loader.batch_sampler.set_epoch(epoch)
        yield from loader
        epoch += 1


def _size(batch: Any) -> dict[str, int]:
    """Rows, and tokens of histories, of a batch on its way to the device."""
    histories = getattr(batch, "histories", None)
    if histories is None:
        return {"rows": len(batch[0])}
    return {"rows": len(histories.items), "tokens": histories.items.numel()}


def _peak(sixteen: bool) -> float | None:
    device = torch.cuda.get_device_name()
    return next((peak[sixteen] for name, peak in PEAKS.items() if name in device), None)


def _memory(device: torch.device) -> float:
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return provenance.peak_memory_mib()


if __name__ == "__main__":
    main()
