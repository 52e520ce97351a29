"""``lightning-rec report FOLDER …``: one page of HTML to look at, and plots for a paper."""

from pathlib import Path

from lightning_rec.commands.compare import asked, sources
from lightning_rec.commands.loading import loading
from lightning_rec.errors import UserError, import_extra
from lightning_rec.screen import Screen

HELP = """\
A page of HTML, in one file that needs no network: the table with paired tests,
curves, figure against cost, slices, differences of users, calibration, what is
recommended, searches, and the command that repeats each run.

usage: lightning-rec report [TITLE=]RUN|SWEEP|SEARCH ... [to=report.html]
                            [figures=[FIGURE,...]] [baseline=TITLE] [level=0.95]
                            [slices=[COLUMN,...]] [tables=[FILE,...]]
                            [title=TEXT] [plots=FOLDER]

What is shown is named as for 'lightning-rec compare', with its keys, and has to
be as comparable. A SEARCH is a folder of 'lightning-rec tune'. plots=FOLDER draws
curves, costs and differences for a column of a paper, as PNG and PDF.

Examples:
  lightning-rec report runs/sweep
  lightning-rec report SASRec=runs/sasrec BERT4Rec=runs/bert4rec \\
    'figures=[test/ndcg@10,test/recall@10]' to=report.html plots=plots
"""


def run(arguments: list[str]) -> int:
    """Write the page, and the plots where ``plots=`` says. Raises UserError on bad input."""
    said, named, options = asked(arguments, ("to", "title", "plots"), "report")
    target = Path(said.get("to", "report.html"))
    if target.suffix not in (".html", ".htm"):
        raise UserError(f"to={target}: the page is HTML, so name it so, to={target}.html.")
    for library in ("jinja2", "plotly"):
        import_extra(library, "report", "report")
    with loading():
        from lightning_rec.reports.page import collect, write_page
    if "plots" in said:  # torchmetrics, which looks for it, is imported
        import_extra("matplotlib", "plots=", "plots")
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
