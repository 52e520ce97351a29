"""What shrinking one model costs: size, latency, memory and figures of each form of it.

python benchmarks/shrink/measure.py MODEL RUNS OUT.json [FORM ...]

RUNS holds the runs that ``runs.sh`` trains: MODEL, and MODEL_weights, MODEL_heads, MODEL_units,
MODEL_layers, MODEL_distil, MODEL_alone where there are such. With FORMs these are measured beside
the run itself, and added to OUT. One thread. Latencies of all forms are taken in
turns, in one process; the memory of each in a process of its own; figures on the whole test.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROUNDS, CALLS = 7, {1: 40, 64: 8}
FIGURES = {
    "sasrec": "test/ndcg@10", "bert4rec": "test/ndcg@10", "deepfm": "test/auc",
    "bi": "test/judged/ndcg@10", "cross": "test/judged/ndcg@10",
}  # fmt: skip
CUT = ("weights", "heads", "units", "layers", "distil", "alone")
AGAIN = 100  # of the best by codes that are scored again


def forms(model: str, runs: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """Every form of a model: the run, and what was written of it, by name."""
    from lightning_rec.build import load_run
    from lightning_rec.shrink.folder import shrink

    found: dict[str, dict[str, Any]] = {"run": {"run": runs / model}}
    for method in ("onnx", "int8"):
        found[method] = {"run": runs / model, "shrunk": folder / method}
        shrink(load_run(runs / model), folder / method, method, model)
    if model in ("sasrec", "bert4rec"):
        found["pq"] = {"run": runs / model, "pq": 0}
        found["pq, 100 best again"] = {"run": runs / model, "pq": AGAIN}
    for cut in CUT:
        run = runs / f"{model}_{cut}"
        if not (run / "weights.safetensors").is_file():
            continue
        found[f"{cut}"] = {"run": run}
        if cut in ("heads", "units", "layers", "distil"):
            shrink(load_run(run), folder / f"{cut}_int8", "int8", run.name)
            found[f"{cut}, int8"] = {"run": run, "shrunk": folder / f"{cut}_int8"}
    return found


def size(form: dict[str, Any]) -> int:
    """Bytes of what has to be there: weights and tables of items, or the shrunk folder."""
    if "shrunk" in form:
        return sum(path.stat().st_size for path in form["shrunk"].iterdir())
    if "pq" in form:
        from lightning_rec.retrieval.index.product import PART

        predictor = loaded(form["run"])
        items, width = predictor._vectors("size", biased=True).shape
        table = predictor.model.item.weight.numel() * 4  # that codes stand for
        whole = (form["run"] / "weights.safetensors").stat().st_size
        parts = -(-width // PART)
        return int(whole - table + items * parts + parts * 256 * PART * 4)
    return (form["run"] / "weights.safetensors").stat().st_size


def loaded(run: Path) -> Any:
    """The predictor of a run."""
    from lightning_rec.build import load_run

    return load_run(run)


def inputs_of(run: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Real inputs of a model, at least 64."""
    from lightning_rec.shrink.folder import real_inputs
    from lightning_rec.shrink.plain import plain

    predictor = loaded(run)
    of = plain(predictor.model, getattr(predictor, "objective", None))
    found = {name: each.numpy() for name, each in real_inputs(predictor, of).items()}
    return {name: each[np.arange(256) % len(each)] for name, each in found.items()}


def answering(form: dict[str, Any]) -> Any:
    """A function of inputs: the model, and, of sequences, the ten best of all items."""
    table: Any = None
    if "shrunk" in form:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(form["shrunk"] / "model.onnx"), options)
        names = [each.name for each in session.get_inputs()]
        if (items := form["shrunk"] / "items.safetensors").is_file():
            from safetensors.numpy import load_file

            table = load_file(items)
            table = _whole(table)

        def made(given: Any) -> Any:
            return session.run(None, {name: given[name] for name in names})[0]
    else:
        import torch

        from lightning_rec.models import kernels
        from lightning_rec.shrink.plain import plain

        torch.set_num_threads(1)
        kernels.use(fast=True)
        predictor = loaded(form["run"])
        of = plain(predictor.model, getattr(predictor, "objective", None))
        module = of.module.eval()
        if of.kind == "sequences":
            table = predictor._vectors("answer", biased=True).numpy()

        def made(given: Any) -> Any:
            with torch.inference_mode():
                return module(*(torch.from_numpy(given[name]) for name in of.inputs)).numpy()

        if "pq" in form:
            from lightning_rec.retrieval.index.product import ProductIndex

            index = ProductIndex(np.arange(len(table)), table, again=form["pq"])
            return lambda given: index.search(made(given), 10)
    if table is None:
        return made

    def best(given: Any) -> Any:
        scores = made(given) @ table.T
        return np.argpartition(-scores, 10, axis=1)[:, :10]

    return best


def _whole(table: dict[str, Any]) -> Any:
    """The vectors of items as floats, which products are soonest of."""
    vectors = table["codes"].astype(np.float32)
    if len(table["scale"]):
        vectors *= table["scale"][:, None]
    return np.hstack([vectors, table["bias"]])


def latencies(found: dict[str, dict[str, Any]], given: Any) -> dict[str, dict[str, float]]:
    """Milliseconds of a call, p50 and p99 of each round, their medians over rounds."""
    answers = {name: answering(form) for name, form in found.items()}
    times: dict[tuple[str, int], list[list[float]]] = {}
    for _ in range(ROUNDS):
        for name, answer in answers.items():
            for rows, calls in CALLS.items():
                some = [
                    {
                        key: each[at * rows % 192 : at * rows % 192 + rows]
                        for key, each in given.items()
                    }
                    for at in range(calls)
                ]
                answer(some[0])
                took = []
                for each in some:
                    start = time.perf_counter()
                    answer(each)
                    took.append(1000 * (time.perf_counter() - start))
                times.setdefault((name, rows), []).append(took)
    return {
        name: {
            f"p{share}_ms_batch_{rows}": round(float(np.median(
                [np.percentile(took, share) for took in times[name, rows]])), 3)
            for rows in CALLS for share in (50, 99)
        }
        for name in answers
    }  # fmt: skip


def memory(form: dict[str, Any], given: Path) -> float:
    """Peak MiB of a process that opens a form and answers 64 at once."""
    text = json.dumps(
        {key: str(each) if isinstance(each, Path) else each for key, each in form.items()}
    )
    done = subprocess.run(
        [sys.executable, __file__, "--memory", text, str(given)],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


def told_memory(text: str, given: str) -> None:
    """In the process of its own."""
    form = {
        key: Path(each) if isinstance(each, str) else each for key, each in json.loads(text).items()
    }
    answer = answering(form)
    with np.load(given, allow_pickle=False) as arrays:
        answer({name: arrays[name][:64] for name in arrays.files})
    # Not ru_maxrss, which begins with that of the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    print(int(status.partition("VmHWM:")[2].split()[0]) / 1024)


def tested(form: dict[str, Any], out: Path) -> None:
    """Write the table of the test of a form, example by example."""
    from lightning_rec.build import problem_of
    from lightning_rec.build.trainer import make_trainer
    from lightning_rec.data.fetch import cache_dir
    from lightning_rec.runs.folder import RunFolder
    from lightning_rec.runs.parts import with_parts
    from lightning_rec.shrink.folder import put_into
    from lightning_rec.training import _evaluate

    run = RunFolder.open(form["run"])
    cfg = with_parts(run, run.config)
    problem = problem_of(cfg)
    loaded_data = problem.load(cache_dir())
    data = problem.make_data(loaded_data)
    task = problem.make_task(loaded_data, data)
    run.load_model(task.model)
    task.model.requires_grad_(False).eval()
    if "shrunk" in form:
        put_into(task, form["shrunk"])
    elif "pq" in form:
        _by_codes(task.model, form["pq"])
    trainer = make_trainer(cfg, run.path, training=False)
    _evaluate(trainer, task, data, validates=loaded_data.validates)
    out.mkdir()
    for name, table in problem.tables(task, loaded_data).items():
        if name.startswith("test_"):
            table.write_parquet(out / f"{name}.parquet")


def _by_codes(model: Any, again: int) -> None:
    """Let a model score items by codes, and the best by their vectors, before all others."""
    import torch

    from lightning_rec.retrieval.index.product import ProductIndex

    weight, bias = model.vectors()
    whole = weight if bias is None else torch.cat([weight, bias[:, None]], dim=1)
    index = ProductIndex(np.arange(len(whole)), whole.float().numpy(), again=again)
    rebuilt = torch.from_numpy(index.rebuilt())

    def scores(queries: Any, items: Any = None) -> Any:
        assert items is None, "evaluated with so small batches that all items are one block"
        if bias is not None:
            queries = torch.cat([queries, torch.ones_like(queries[:, :1])], dim=1)
        near = queries @ rebuilt.T
        if again:
            best = near.topk(again, dim=1).indices
            exact = (queries @ whole.T).gather(1, best)
            near = (near - 1e4).scatter(1, best, exact)
        return near

    model.scores = scores


def main(model: str, runs: Path, out: Path, *only: str) -> None:
    """Measure all forms of a model, or some, and write a line for each."""
    from lightning_rec.build import load_run  # noqa: F401  before the clock runs
    from lightning_rec.files import write_json
    from lightning_rec.lab.examples import of_runs
    from lightning_rec.lab.paired import mean_of, paired
    from lightning_rec.runs import provenance

    card = {key: provenance.card()[key] for key in ("commit", "dirty")}
    figure, lines = FIGURES[model], json.loads(out.read_text()) if only else []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = forms(model, runs, folder)
        found = {name: of for name, of in found.items() if not only or name in ("run", *only)}
        given = inputs_of(runs / model)
        np.savez(folder / "inputs.npz", **given)  # type: ignore[arg-type]
        took = latencies(found, given)
        for form_name, form in found.items():
            where = form["run"]
            if "shrunk" in form or "pq" in form:
                where = folder / f"test {form_name}"
                tested(form, where)
            values = of_runs([where], figure)
            assert values is not None
            apart = paired([where], [runs / model], figure)
            assert apart is not None
            line = {
                "model": model, "form": form_name, "bytes": size(form), **took[form_name],
                "peak_mib": round(memory(form, folder / "inputs.npz"), 1),
                "figure": figure, "value": mean_of(values),
                "difference": apart.difference, "low": apart.low, "high": apart.high,
                "units": apart.units, **card, "measured": provenance.now(),
            }  # fmt: skip
            if not only or form_name in only:
                lines.append(line)
            print(line, flush=True)
            write_json(out, lines)


if __name__ == "__main__":
    if sys.argv[1] == "--memory":
        told_memory(*sys.argv[2:])
    else:
        main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])
