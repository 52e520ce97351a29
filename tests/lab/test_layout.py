"""Tables as Markdown and as LaTeX."""

import pytest

from lightning_rec.lab import Table

TABLE = Table(
    ["setting", "ndcg@10", "minus a_b [95 %]"],
    [["`model.dim=32` & more", "0.0943 ± 0.0027", "+0.0145 [+0.0102, -0.0189]"], ["a|b", "-", ""]],
)


def test_markdown() -> None:
    assert str(TABLE).splitlines() == [
        "| setting | ndcg@10 | minus a_b [95 %] |",
        "| --- | ---: | ---: |",
        "| `model.dim=32` & more | 0.0943 ± 0.0027 | +0.0145 [+0.0102, -0.0189] |",
        r"| a\|b | - |  |",
    ]


def test_latex_escapes_what_it_reads_otherwise() -> None:
    assert TABLE.latex().splitlines() == [
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"setting & ndcg@10 & minus a\_b {[}95 \%{]} \\",
        r"\midrule",
        r"\texttt{model.dim=32} \& more & 0.0943 $\pm$ 0.0027 & $+0.0145$ {[}$+0.0102$, $-0.0189${]} \\",
        r"a|b & - &  \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]
    floating = TABLE.latex("50 % of $x$", "tab:one").splitlines()
    assert floating[:4] == [
        r"\begin{table}",
        r"\centering",
        r"\caption{50 \% of \$x\$}",
        r"\label{tab:one}",
    ]
    assert floating[-1] == r"\end{table}"
    odd = Table(["\\~^#{}`"], [["x-2 1e-3"]]).latex()
    assert r"\textbackslash{}\textasciitilde{}\textasciicircum{}\#\{\}`" in odd
    assert "x-2 1e-3" in odd


def test_a_range_is_no_negative_number_in_latex() -> None:
    made = Table(["slice", "mean"], [["history 1\u20134", "-0.1"]]).latex()
    assert "history 1--4 & $-0.1$" in made


def test_a_row_has_a_cell_for_every_heading() -> None:
    with pytest.raises(ValueError, match="1 cells for 2 headings"):
        Table(["a", "b"], [["c"]])
