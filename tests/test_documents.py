"""Saved configs are read as OmegaConf reads them, only sooner."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lightning_rec import config
from lightning_rec.documents import read_config, read_yaml
from lightning_rec.errors import UserError

ODD = """\
a: [1, 1e3, 1E-4, .5, 1_000, 0x1F, 0o17, 017, 1:30, 2026-11-28, -.inf, .nan, ~, null, yes, Off, "1"]
b: {1: one, 2.5: x, true: y, "c.d": "${oc.env:HOME}"}
c: |
  lines
  of text
d: &shared {x: 1}
e: *shared
f: {}
g: []
h: ???
"""


def test_every_config_and_odd_values_are_what_omegaconf_makes_of_them(tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text(ODD)
    (tmp_path / "empty.yaml").write_text("")
    paths = [*config.config_dir().rglob("*.yaml"), *tmp_path.glob("*.yaml")]
    assert len(paths) > 200
    for path in paths:
        theirs = OmegaConf.to_container(OmegaConf.create(path.read_text()), resolve=False)
        assert repr(read_yaml(path)) == repr(theirs), path


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("a: {b: 1, c: 2, b: 3}\n")
    with pytest.raises(UserError, match="duplicate key b"):
        read_yaml(path)


def test_what_is_read_is_ones_own_and_what_stands_in_the_file_now(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("a: {b: 1}\n")
    read_config(path).a.b = 7
    read_yaml(path)["a"]["b"] = 8
    assert read_config(path).a.b == read_yaml(path)["a"]["b"] == 1
    path.write_text("a: {b: 2}\n")
    assert read_config(path).a.b == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: !!bool maybe", "not of the kind that its tag says"),
        ('a: !!int ""', "not of the kind that its tag says"),
        ('a: !!float ""', "not of the kind that its tag says"),
        ("a: !!int one", "invalid literal for int"),
        # OmegaConf reads a text as YAML of its own, whose aliases nobody has counted.
        ('"a: &a [x, x]\\nb: [*a, *a]"', "a text alone stands there"),
        ("a: " + "${" * 3000, "line 1: a value holds at most 100 interpolations"),
        ('a: "' + "${a:" * 90 + "}" * 90 + '"', ""),
        ('a: "' + "${a:" * 500 + "}" * 500 + '"', "at most 100 interpolations"),
    ],
)
def test_what_would_crash_or_unfold_is_refused_in_a_sentence(
    tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    if words:
        with pytest.raises(UserError, match=words):
            read_yaml(path)
    else:
        assert read_yaml(path)
