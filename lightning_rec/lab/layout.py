"""A table of text cells as Markdown, or as LaTeX with booktabs."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "⊕": r"$\oplus$",
    "[": "{[}",  # a row that begins with it would be read as a length
    "]": "{]}",
    "\u2013": "--",
} | {sign: f"\\{sign}" for sign in "&%$#_{}"}
_SPECIAL = re.compile("[" + re.escape("".join(_LATEX)) + "]")
_SIGNED = re.compile(r"(?<![\w.])([+-]\d[\d.]*)")


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


def _latex(cell: str) -> str:
    """A cell with LaTeX's special signs escaped, Markdown's code in typewriter, signs as minus."""
    parts = cell.split("`")
    escaped = [_SPECIAL.sub(lambda found: _LATEX[found[0]], part) for part in parts]
    if len(parts) % 2 == 0:  # a backtick by itself
        return "`".join(escaped)
    plain = (_SIGNED.sub(r"$\1$", part) for part in escaped[::2])
    code = [f"\\texttt{{{part}}}" for part in escaped[1::2]]
    return "".join(one + other for one, other in zip(plain, [*code, ""], strict=True))
