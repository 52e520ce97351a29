"""Tables that fit any width: text is folded, columns go below, and no figure is ever cut."""

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from lightning_rec.streams import visible

GAP = 2  # blanks between two columns
LONGEST = 24  # a longer word of text, or of a heading, may be folded
MOST = 500  # letters of a cell
LINES = 3  # a first column that takes more of them is listed below


@dataclass(frozen=True)
class Column:
    """The heading of a column and its cells. Text is folded at blanks, a figure never."""

    heading: str
    text: bool
    cells: tuple[str, ...] = ()

    @property
    def least(self) -> int:
        """The width without which a figure, or a word of common length, would be cut."""
        words, lines = self.heading.split(), "\n".join(self.cells).split("\n")
        if self.text:
            words, lines = [*words, *" ".join(self.cells).split()], []
        return max(1, 1, *(min(LONGEST, cell_len(word)) for word in words), *map(cell_len, lines))

    @property
    def unfolded(self) -> int:
        """The width at which nothing is folded."""
        lines = "\n".join((self.heading, *self.cells)).split("\n") if self.text else ()
        return max(self.least, 1, *map(cell_len, lines))


def text(*headings: str) -> list[Column]:
    """Columns of text, folded at blanks where there is little room."""
    return [Column(heading, text=True) for heading in headings]


def figures(*headings: str) -> list[Column]:
    """Columns of figures, never folded."""
    return [Column(heading, text=False) for heading in headings]


@dataclass(eq=False)
class FittedTable:
    """A table whose first column says what a row is of.

    Columns that do not fit beside it follow below, in a table of their own with the first column
    again.

    Args:
        title: a line above it; none if empty.
        columns: of :func:`text` and of :func:`figures`.
        numbered: where the first column has little room, rows are numbered in its place, and what
            stands in it is listed below, by number.
        header: whether the headings are shown.
        spaced: whether there is an empty line between two rows.
    """

    title: str
    columns: Sequence[Column]
    _: KW_ONLY
    numbered: bool = False
    header: bool = True
    spaced: bool = False
    _rows: list[tuple[str, ...]] = field(default_factory=list, init=False)

    def add_row(self, *cells: str) -> None:
        """A cell for each column, cut off where nobody would read on."""
        self._rows.append(tuple(map(_cut, map(visible, cells))))

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        """Called by Rich."""
        columns = self._filled(ascii_only=options.ascii_only)
        legend = None
        if self.numbered and not _has_room(columns, options.max_width):
            numbers = tuple(map(str, range(1, len(self._rows) + 1)))
            number = Column("#", text=False, cells=numbers)
            legend = _grid([number, columns[0]], options.max_width, header=False, spaced=False)
            columns = [number, *columns[1:]]
        if self.title:
            yield Text(visible(self.title), "italic")
        for index, part in enumerate(_parted(columns, options.max_width)):
            if index:
                yield ""
            yield _grid(part, options.max_width, header=self.header, spaced=self.spaced)
        if legend is not None:
            yield ""
            yield legend
        yield ""

    def _filled(self, *, ascii_only: bool) -> list[Column]:
        """The columns with their cells, in letters that can be written."""
        cells = zip(*self._rows, strict=True) if self._rows else [()] * len(self.columns)
        return [
            Column(
                column.heading,
                column.text,
                tuple(cell.replace("±", "+-") for cell in own) if ascii_only else tuple(own),
            )
            for column, own in zip(self.columns, cells, strict=True)
        ]


def _cut(cell: str) -> str:
    return cell if len(cell) <= MOST else f"{cell[: MOST - 1]}…"


def _has_room(columns: Sequence[Column], width: int) -> bool:
    """Whether the first column fits beside all others, with every word whole and in few lines."""
    first, *others = columns
    words = [word for cell in first.cells for word in cell.split()]
    room = width - sum(column.least + GAP for column in others)
    return room >= max((*map(cell_len, words), *(cell_len(c) // LINES for c in first.cells), 1))


def _parted(columns: Sequence[Column], width: int) -> list[list[Column]]:
    """The columns of each table: the first one, and as many others as fit beside it."""
    first, *others = columns
    parts: list[list[Column]] = []
    room = 0
    for column in others:
        if not parts or column.least + GAP > room:
            parts.append([first])
            room = width - first.least
        parts[-1].append(column)
        room -= column.least + GAP
    return parts or [[first]]


def _grid(columns: Sequence[Column], width: int, *, header: bool, spaced: bool) -> Table:
    grid = Table(
        box=box.SIMPLE_HEAD if header else None,
        show_header=header,
        show_edge=False,
        pad_edge=False,
        padding=(0, GAP if not header else GAP - 1, 0, 0),  # a box has a blank between columns
        leading=int(spaced),
    )
    for column, wide in zip(columns, _widths(columns, width), strict=True):
        justify, heading = "left" if column.text else "right", column.heading
        grid.add_column(heading, justify=justify, width=wide, overflow="fold")  # type: ignore[arg-type]
    for row in zip(*(column.cells for column in columns), strict=True):
        grid.add_row(*row)
    return grid


def _widths(columns: Sequence[Column], width: int) -> list[int]:
    """What each column needs, and its share of what is left over, for text that would be folded."""
    least = [column.least for column in columns]
    left = width - sum(least) - GAP * (len(columns) - 1)
    if left < 0:  # no two columns fit side by side: text gives way
        widest = max(range(len(columns)), key=lambda n: (columns[n].text, least[n]))
        return [*least[:widest], max(1, least[widest] + left), *least[widest + 1 :]]
    missing = [column.unfolded - column.least for column in columns]
    share = min(1.0, left / max(1, sum(missing)))
    return [narrow + int(share * more) for narrow, more in zip(least, missing, strict=True)]
