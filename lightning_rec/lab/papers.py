"""Published tables and what came out here: ``paper.yaml`` of a folder, and the runs beside it.

``runs/ROW_seedS.json`` are recorded runs, ``tried/NAME_seedS.json`` those of settings that did not
help. Everything else, ``table.*`` and a part of ``README.md``, is made of them.
"""

from collections.abc import Mapping
from functools import cached_property
from itertools import count, islice
from operator import itemgetter
from pathlib import Path
from typing import Annotated

import polars as pl
from pydantic import BaseModel, Field, PositiveFloat, PositiveInt, ValidationError

from lightning_rec.documents import read_json, read_yaml
from lightning_rec.errors import UserError, listed
from lightning_rec.lab.layout import Table, filled
from lightning_rec.lab.reading import HASHES, check_comparable, read_runs
from lightning_rec.lab.results import PASSES, Result
from lightning_rec.lab.statistics import spread

NAME = "paper.yaml"
RESULTS = "results.csv"
RowName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$")]


class PaperRow(BaseModel, extra="forbid"):
    """A row of a published table, and how it is repeated.

    Args:
        config: overrides, such as ``experiment=sasrec_ml1m``.
        title: of the row in the table.
        data: what it is measured on.
        published: test figures by name; none for a row of one's own.
        source: where they stand; the paper if empty.
        certainty: how sure they are: read in the source, quoted by another, from memory.
        deviates: from the published protocol or settings.
        comparable: whether the protocol is the published one; if not there is no verdict.
        seeds: how many are the goal; None: as many as the paper's.
        tried: other settings that did not help, by the name of their runs in ``tried/``.
    """

    config: Annotated[tuple[str, ...], Field(max_length=20)] = ()
    title: str = ""
    data: str = ""
    published: Mapping[str, PositiveFloat] = {}
    source: str = ""
    certainty: str = ""
    deviates: str = ""
    comparable: bool = True
    seeds: PositiveInt | None = None
    tried: Mapping[RowName, str] = {}


class Paper(BaseModel, extra="forbid"):
    """A published table: ``paper.yaml`` of ``folder``.

    Args:
        citation: authors, title, venue.
        rows: by name; a file of a run is called after it.
        figures: that the table shows, such as ``test/ndcg@10``.
        protocol: in words: split, candidates, what is filtered.
        source: the official code, with its commit.
        tolerance: a figure passes within this share of the published one, on the mean over seeds,
            or if it is better.
        seeds: how many are the goal of a row.
        quick_epochs: how many epochs ``budget=quick`` repeats.
        quick_tolerance: the share of the recorded curve that these may differ by: another processor
            adds in another order.
    """

    folder: Path
    citation: str
    rows: Annotated[Mapping[RowName, PaperRow], Field(min_length=1)]
    figures: Annotated[tuple[str, ...], Field(min_length=1)]
    protocol: str = ""
    source: str = ""
    tolerance: PositiveFloat = 0.05
    seeds: PositiveInt = 3
    quick_epochs: PositiveInt = 1
    quick_tolerance: PositiveFloat = 0.1

    @classmethod
    def load(cls, folder: Path) -> "Paper":
        """Read ``folder/paper.yaml``. Raises UserError naming the key that cannot be read."""
        path = folder / NAME
        if not path.is_file():
            raise UserError(f"There is no {path}: a paper is a folder with a {NAME}.")
        said = read_yaml(path)
        if not isinstance(said, dict) or "folder" in said:
            raise UserError(f"{path} has to be keys with values, 'folder' not among them.")
        try:
            return cls.model_validate({**said, "folder": folder})
        except ValidationError as error:
            first = error.errors()[0]
            known = PaperRow if first["loc"][0] == "rows" else cls
            more = f" There are: {listed(known.model_fields, 20)}." * ("extra" in first["type"])
            key, told = ".".join(map(str, first["loc"])), first["msg"][0].lower() + first["msg"][1:]
            raise UserError(f"{path}: {key}: {told}.{more}") from None

    @property
    def name(self) -> str:
        """That of its folder."""
        return self.folder.resolve().name

    def path(self, row: str, seed: int) -> Path:
        """Where the record of a run belongs."""
        return self.folder / "runs" / f"{row}_seed{seed}.json"

    def wanted(self, row: str) -> list[int]:
        """The seeds that are the goal of a row: those that are recorded, then 1, 2, …."""
        number = self.rows[row].seeds or self.seeds
        recorded = [seed for path, seed in self._recorded(row, "runs")][:number]
        more = (seed for seed in count(1) if seed not in recorded)
        return sorted([*recorded, *islice(more, number - len(recorded))])

    def runs(self, row: str, kind: str = "runs") -> pl.DataFrame:
        """The recorded runs of a row, a line each by seed; empty while there are none.

        Raises UserError if they are of different data or protocols, or lack a figure.
        """
        paths = [path for path, _ in self._recorded(row, kind)]
        if not paths:
            return pl.DataFrame()
        for path in paths if kind == "runs" else ():
            record = read_json(path)  # those of earlier versions do not say
            config = record.get("config") if isinstance(record, dict) else None
            if config not in (None, list(self.rows[row].config)):
                said = map(str, config if isinstance(config, list) else [config])
                differing = listed(sorted({*said} ^ {*self.rows[row].config})) or "their order"
                raise UserError(
                    f"{path} is the record of another config than rows.{row}.config has ("
                    f"{differing}): remove it, and the row is trained anew."
                )
        found = read_runs({row: paths})
        recorded = set(found.columns) & set(HASHES)  # earlier versions knew no catalogue
        known = [each for each in recorded if not found[each].has_nulls()]
        check_comparable(found, f"the runs of {self.name}/{row}", known)
        for name in self.figures if kind == "runs" else ():
            if name not in found.columns or found[name].has_nulls():
                raise UserError(f"{paths[0]}: a run of this row lacks the figure {name}.")
        return found

    def _recorded(self, row: str, kind: str) -> list[tuple[Path, int]]:
        """The records of a row and their seeds, by seed."""
        every = (self.folder / kind).glob(f"{row}_seed*.json")
        said = ((path, path.stem.rpartition("_seed")) for path in every)
        found = [(path, int(seed)) for path, (of, _, seed) in said if of == row and seed.isdigit()]
        return sorted(found, key=itemgetter(1))

    @cached_property
    def results(self) -> list[Result]:
        """Every row that has runs, in order."""
        found = ((name, self.runs(name)) for name in self.rows)
        return [Result(self, name, runs) for name, runs in found if runs.height]

    def table(self) -> Table:
        """Data, row, per figure published, ours and verdict, seeds, cost, and what deviates.

        Where no row has a published figure, ours alone.
        """
        header = ["data", "row"]
        for name in self.figures:
            short = name.removeprefix("test/")
            shown = (f"{short} published", "ours", "difference", "verdict")
            header += shown if self.has_published else [short]
        deviates = "what deviates from the source" if self.has_published else "settings"
        header += ["seeds", "minutes a seed", deviates]
        return Table(header, [result.cells() for result in self.results], text=2)

    @property
    def has_published(self) -> bool:
        """Whether any figure of a row was published."""
        return any(row.published for row in self.rows.values())

    def frame(self) -> pl.DataFrame:
        """One line per row and figure: published, seeds, mean, sd, Student's interval, verdict."""
        lines = []
        for result in self.results:
            for figure in self.figures:
                ours = spread(result.runs[figure].to_list())
                low, high = ours.interval() or (None, None)
                lines.append(
                    {"row": result.name, "figure": figure, "mean": ours.mean, "sd": ours.sd,
                     "published": result.row.published.get(figure), "low": low, "high": high,
                     "seeds": ours.runs, "verdict": result.verdict(figure)}
                )  # fmt: skip
        kinds = dict.fromkeys(("published", "mean", "sd", "low", "high"), pl.Float64)
        schema = {"row": pl.String, "figure": pl.String, **kinds, "seeds": pl.Int64}
        return pl.DataFrame(lines, schema={**schema, "verdict": pl.String})

    def files(self) -> dict[Path, str]:
        """What is made of the results: the table as Markdown, LaTeX and HTML, numbers as CSV.

        Markdown goes into ``README.md``, between its marks if there is one.
        """
        page = self.folder / "README.md"
        tables = {"rows": self.table()} | ({"tried": self.tried()} if self.tried().rows else {})
        marked = "\n\n".join(f"<!-- {name}:start -->\n<!-- {name}:end -->" for name in tables)
        begun = f"# {self.citation}\n\n{self.protocol}\n\n{marked}\n"
        text = page.read_text(encoding="utf-8") if page.is_file() else begun
        return {
            page: filled(text, page, **tables),
            self.folder / "table.tex": self.table().latex(self.citation),
            self.folder / "table.html": self.table().html(),
            self.folder / RESULTS: self.frame().write_csv(float_precision=6),
        }

    def lost(self) -> list[str]:
        """What passed when ``results.csv`` was written, and does no longer, in words."""
        path = self.folder / RESULTS
        if not path.is_file():
            return []
        before = pl.read_csv(path, glob=False)
        passed = before.filter(pl.col("verdict").is_in(PASSES)).select("row", "figure").rows()
        now = {(row["row"], row["figure"]): row for row in self.frame().iter_rows(named=True)}
        told = []
        for key in passed:
            found = now.get(key)
            if found is None:
                told.append(f"{self.name}/{key[0]}: {key[1]} passed, and there is no run of it now")
            elif found["verdict"] not in PASSES:
                figures = f"{found['mean']:.4f} for {found['published']} published"
                told.append(f"{self.name}/{key[0]}: {key[1]} passed, and is {figures} now")
        return told

    def tried(self) -> Table:
        """What did not help: epochs, best validation figure, that of the row until then."""
        lines = []
        for result in self.results:
            for name, what in result.row.tried.items():
                own, other = _curve(result.runs), _curve(self.runs(name, "tried"))
                by_then = [value for epoch, value in own.items() if epoch <= max(other)]
                figures = [max(other.values()), max(by_then), max(own.values())]
                cells = [what, str(max(other)), *(f"{value:.4f}" for value in figures)]
                lines.append([result.row.data, result.row.title, *cells])
        header = ["data", "row", "tried", "epochs", "best of validation", "the row's by then"]
        return Table([*header, "the row's at last"], lines, text=3)


def papers(root: Path) -> list[Path]:
    """The folders of papers below ``root``."""
    return sorted(path.parent for path in root.glob(f"*/{NAME}"))


def _curve(runs: pl.DataFrame) -> dict[int, float]:
    return {entry["epoch"]: entry["value"] for entry in runs["curve"][0]}  # of the first run
