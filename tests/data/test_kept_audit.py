"""The result of an audit is kept with its data, and made anew where data or code is another."""

from pathlib import Path

import pytest

from lightning_rec.data import kept
from lightning_rec.errors import LeakError


def test_an_audit_is_made_once_for_each_state_of_data_and_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def audit() -> list[object]:
        asked.append(1)
        return [{"train events": len(asked)}, [("rows", "a sentence")]]

    first = kept.kept_audit(tmp_path / "data", audit)
    assert kept.kept_audit(tmp_path / "data", audit) == first
    assert first == [{"train events": 1}, [["rows", "a sentence"]]]
    kept.kept_audit(tmp_path / "other", audit)
    assert len(asked) == 2
    monkeypatch.setattr(kept, "_code", lambda: "another")
    kept.kept_audit(tmp_path / "data", audit)
    assert len(asked) == 3
    for path in tmp_path.glob("data-audit-*/audit.json"):
        path.write_text("[]")  # somebody's hand: the checksum tells
    kept.kept_audit(tmp_path / "data", audit)
    assert len(asked) == 4


def test_nothing_is_kept_of_an_audit_that_fails(tmp_path: Path) -> None:
    def audit() -> None:
        raise LeakError("a leak")

    for _ in range(2):
        with pytest.raises(LeakError):
            kept.kept_audit(tmp_path / "data", audit)
    assert not list(tmp_path.glob("**/audit.json"))
