"""Letters that no font here has are left out of a picture, and nothing warns of them."""

import warnings
from pathlib import Path

import polars as pl
import pytest

from lightning_rec.answers.profile import Profile

pytest.importorskip("matplotlib")

from lightning_rec.lab import drawing
from lightning_rec.reports.profiles import draw

SHARES = {"column": ["brand", "brand"], "value": ["ours", "北星"], "share": [0.5, 0.5],
          "everybody": [0.2, 0.8], "early": [1.0, 0.0], "late": [0.0, 1.0]}  # fmt: skip
NEAREST = {"rank": [1, 2], "item": ["i1", "i2"], "title": ["スニーカー", "Gießkanne スニ 3"],
           "score": [2.0, 1.0], "had": [True, False]}  # fmt: skip
FACTS = {"fact": ["events", "novelty"], "user": [4.0, 5.0], "everybody": [3.0, 6.0]}


def test_titles_of_any_script_are_drawn_without_a_warning(tmp_path: Path) -> None:
    drift = pl.DataFrame({"column": ["brand"], "drift": [1.0]})
    made = Profile("北", pl.DataFrame(NEAREST), pl.DataFrame(SHARES), drift, pl.DataFrame(FACTS))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(made, tmp_path / "profile.png")
    assert (tmp_path / "profile.png").read_bytes()[:4] == b"\x89PNG"


def test_what_a_font_lacks_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "_fonts", lambda: ("DejaVu Sans",))
    drawing._letters.cache_clear()
    assert drawing.drawable("スニ Gießkanne  café 3 北") == "Gießkanne café 3"
    drawing._letters.cache_clear()
