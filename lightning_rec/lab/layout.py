"""A table of text cells as Markdown, or as LaTeX with booktabs."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "<": "$<$",
    ">": "$>$",
    "⊕": r"$\oplus$",
    "[": "{[}",  # a row that begins with it would be read as a length
    "]": "{]}",
    "\u2013": "--",
} | {sign: f"\\{sign}" for sign in "&%$#_{}"}
_SPECIAL = re.compile("[" + re.escape("".join(_LATEX)) + "]")
_SIGNED = re.compile(r"(?<![\w.-])([+-]\d[\d.]*)")


@dataclass(frozen=True)
class Table:
    """Cells as they are shown.

    Args:
        header: a heading for each column.
        rows: cells of each row, as many as there are headings.
        text: how many columns from the left are text; the others are figures, set to the right.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: int = 1

    def __post_init__(self) -> None:
        """Check that each row has a cell for every heading."""
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"{len(row)} cells for {len(self.header)} headings: {row[0]}, …")

    def markdown(self) -> str:
        """A table of GitHub's Markdown, without a line break at the end."""
        rule = ["---"] * self.text + ["---:"] * (len(self.header) - self.text)
        lines = [self.header, rule, *self.rows]
        return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |"
                         for line in lines)  # fmt: skip

    __str__ = _repr_markdown_ = markdown  # the latter is called by notebooks

    def latex(self, caption: str = "", label: str = "") -> str:
        """A ``tabular`` with booktabs, in a ``table`` if there is a caption or a label."""
        columns = "l" * self.text + "r" * (len(self.header) - self.text)
        head, *body = (" & ".join(map(_latex, line)) + r" \\" for line in (self.header, *self.rows))
        lines = [f"\\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule", *body]
        lines += [r"\bottomrule", r"\end{tabular}"]
        if label:
            lines.insert(0, f"\\label{{{label}}}")
        if caption:
            lines.insert(0, f"\\caption{{{_latex(caption)}}}")
        if caption or label:
            lines = [r"\begin{table}", r"\centering", *lines, r"\end{table}"]
        return "\n".join(lines) + "\n"

    def html(self) -> str:
        """A ``<table>`` of HTML, cells escaped; what Markdown sets as code is code."""
        cell = "<{0}{1}>{2}</{0}>".format

        def line(cells: Sequence[str], tag: str) -> str:
            figure = (' class="figure"' * (place >= self.text) for place in range(len(cells)))
            told = "".join(cell(tag, f, _html(each)) for f, each in zip(figure, cells, strict=True))
            return f"<tr>{told}</tr>"

        body = "\n".join(line(row, "td") for row in self.rows)
        head = f"<thead>{line(self.header, 'th')}</thead>"
        return f"<table>\n{head}\n<tbody>\n{body}\n</tbody>\n</table>\n"


def filled(text: str, page: object, **parts: object) -> str:
    """A page with each part between its marks, ``<!-- NAME:start -->`` and ``<!-- NAME:end -->``.

    Raises ValueError naming the ``page`` that lacks a mark.
    """
    for name, part in parts.items():
        start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
        before, opened, rest = text.partition(start)
        _, closed, after = rest.partition(end)
        if not (opened and closed):
            raise ValueError(f"{page} has no {start} … {end}")
        text = f"{before}{start}\n{part}\n{end}{after}"
    return text


def _html(cell: str) -> str:
    """A cell of HTML: what stands between backticks is code."""
    parts = [html.escape(part) for part in cell.split("`")]
    if len(parts) % 2 == 0:
        return "`".join(parts)
    return "".join(f"<code>{p}</code>" if place % 2 else p for place, p in enumerate(parts))


def _latex(cell: str) -> str:
    """A cell with LaTeX's special signs escaped, Markdown's code in typewriter, signs as minus."""
    parts = cell.split("`")
    escaped = [_SPECIAL.sub(lambda found: _LATEX[found[0]], part) for part in parts]
    if len(parts) % 2 == 0:  # a backtick by itself
        return "`".join(escaped)
    plain = (_SIGNED.sub(r"$\1$", part) for part in escaped[::2])
    code = [f"\\texttt{{{part}}}" for part in escaped[1::2]]
    return "".join(one + other for one, other in zip(plain, [*code, ""], strict=True))
