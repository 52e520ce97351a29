"""The alerting rules are of Prometheus's form, and name figures that a server has."""

import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, Field
from test_readme import CLONE

from lightning_rec.serving.telling import Figures

RULES = CLONE / "examples" / "serving" / "alerts.yml"


class Rule(BaseModel, extra="forbid", strict=True):
    """What Prometheus takes of an alerting rule (its documentation, 'Alerting rules')."""

    alert: str = Field(pattern=r"^[A-Za-z]\w*$")
    expr: str
    for_: str | None = Field(None, alias="for", pattern=r"^(\d+[smhdw])+$")
    labels: dict[str, str]
    annotations: dict[str, str]


class Group(BaseModel, extra="forbid", strict=True):
    """A group of rules."""

    name: str
    rules: list[Rule]


def test_the_rules_have_their_form_and_name_figures_that_there_are() -> None:
    told: dict[str, Any] = yaml.safe_load(RULES.read_text())
    assert list(told) == ["groups"]
    rules = [rule for group in told["groups"] for rule in Group.model_validate(group).rules]
    assert len({rule.alert for rule in rules}) == len(rules) == 6
    figures = Figures()
    figures.seconds.labels("/recommend").observe(0.1)
    figures.requests.labels("/recommend", "200").inc()
    figures.reloads.labels("refused").inc()
    page = figures.page().decode()
    for rule in rules:
        assert rule.expr.count("(") == rule.expr.count(")")
        for name in re.findall(r"lightning_rec_\w+", rule.expr):
            assert re.search(rf"^{name}[ {{]", page, flags=re.M), name


def test_promtool_takes_them() -> None:
    if not (program := shutil.which("promtool")):
        pytest.skip("promtool is not installed: apt-get install prometheus.")
    done = subprocess.run([program, "check", "rules", str(RULES)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
