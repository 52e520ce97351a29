"""``lightning-rec report FOLDER …``: one page of HTML to look at, and plots for a paper."""

from pathlib import Path
from typing import Any

from lightning_rec.commands.compare import asked, sources
from lightning_rec.commands.loading import loading
from lightning_rec.commands.sets import number
from lightning_rec.documents import read_json
from lightning_rec.errors import UserError, import_extra
from lightning_rec.runs.sweeps import PLAN
from lightning_rec.screen import Screen
from lightning_rec.streams import quiet

HELP = """\
A page of HTML, in one file that needs no network: the table with paired tests,
curves, figure against cost, slices, differences of users, calibration, what is
recommended, searches, and the command that repeats each run.

usage: lightning-rec report [TITLE=]RUN|SWEEP|SEARCH ... [to=report.html]
                            [figures=[FIGURE,...]] [baseline=TITLE] [level=0.95]
                            [slices=[COLUMN,...]] [tables=[FILE,...]]
                            [title=TEXT] [plots=FOLDER]
       lightning-rec report FOLDER ... --watch [port=8642]

What is shown is named as for 'lightning-rec compare', with its keys, and has to
be as comparable. A SEARCH is a folder of 'lightning-rec tune'. plots=FOLDER draws
curves, costs and differences for a column of a paper, as PNG and PDF. --watch
serves the page on this machine alone, with the jobs that go on and their curves so
far, and renews it until Ctrl-C.

Examples:
  lightning-rec report runs/sweep
  lightning-rec report SASRec=runs/sasrec BERT4Rec=runs/bert4rec \\
    'figures=[test/ndcg@10,test/recall@10]' to=report.html plots=plots
  lightning-rec report runs/sweep --watch
"""


def run(arguments: list[str]) -> int:
    """Write the page, and the plots where ``plots=`` says. Raises UserError on bad input."""
    keys = ("to", "title", "plots", "port")
    watches = "--watch" in arguments
    said, named, options = asked([a for a in arguments if a != "--watch"], keys, "report")
    if wrong := [key for key in (("to", "plots") if watches else ("port",)) if key in said]:
        raise UserError(f"{wrong[0]}= has no effect {'with' if watches else 'without'} --watch.")
    target = Path(said.get("to", "report.html"))
    if target.suffix not in (".html", ".htm"):
        raise UserError(f"to={target}: the page is HTML, so name it so, to={target}.html.")
    for library in ("jinja2", "plotly"):
        import_extra(library, "report", "report")
    with loading():
        from lightning_rec.reports.page import collect, write_page
    if "plots" in said:  # torchmetrics, which looks for it, is imported
        import_extra("matplotlib", "plots=", "plots")
    if watches:
        return _watch(named, options, said)
    made, searches = collect(sources(named), **options)
    write_page(target, made, searches, said.get("title", ""))
    console = Screen()
    console.print(f"Written to {target.absolute()}", highlight=False, soft_wrap=True)
    if folder := said.get("plots"):
        from lightning_rec.reports.paper_plots import draw

        if made is None:
            raise UserError("plots= draws runs, and none is named that is completed.")
        files = draw(made, Path(folder))
        console.print("\n".join(map(str, files)), highlight=False, soft_wrap=True)
    return 0


def _watch(named: list[str], options: dict[str, Any], said: dict[str, str]) -> int:
    """Serve the page while runs go on; 0 when it is ended."""
    from lightning_rec.reports.page import collect, render
    from lightning_rec.reports.running import of_jobs
    from lightning_rec.reports.watching import Watched, watch

    port = number("port", said.get("port", "8642"), int)
    if not 0 <= port < 2**16:
        raise UserError(f"port={port}: it has to be from 0 (any that is free) to 65535.")
    known = sources(named)
    titled = [path for each in known if isinstance(each, dict) for path in each.values()]
    paths = [Path(each) for each in known if isinstance(each, str)]
    paths += [Path(path) for of in titled for path in of]
    if missing := [path for path in paths if not path.exists()]:
        raise UserError(f"There is no file or folder {missing[0]}.")

    def page(version: str) -> str:
        completed = any(_completed(path) for path in paths)
        made, searches = collect(known, **options) if completed else (None, [])
        return render(made, searches, said.get("title", ""), version, of_jobs(paths))

    console = Screen()
    with quiet("lightning_rec.lab.reading"):  # each look would tell again of each run that goes on
        watch(Watched(page), paths, port, lambda told: console.print(told, highlight=False))
    return 0


def _completed(path: Path) -> bool:
    """Whether there is anything to show at a path yet: a completed run, JSON of one, a search."""
    if path.is_file() or (path / "study.db").is_file():
        return True
    cards = [card for form in ("run.json", "*/run.json") for card in path.glob(form)]
    own = {"run.json", "sweep.json", PLAN, "metrics.json", "job.json", "checksums.json"}
    return (
        any(read_json(card).get("status") == "completed" for card in cards)
        or any(path.glob("*/study.db"))
        or any(each.name not in own for each in path.glob("*.json"))
    )
