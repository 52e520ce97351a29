"""``lightning-rec verify``: what was changed by hand is found, in runs and in records of papers."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_rec import cli
from lightning_rec.documents import read_json
from lightning_rec.errors import UserError
from lightning_rec.files import sha256_file, write_json
from lightning_rec.lab.records import sealed


@pytest.fixture
def paper(log_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A paper of one row that was repeated."""
    monkeypatch.chdir(tmp_path)
    config = [f"data.path={log_csv}", "data.user=uid", "data.item=sku", "data.time=ts"]
    config += ["data=table", "model=itemknn", "trainer=cpu", "protocol.cutoffs=[10]", "examples=0"]
    row = {"config": config, "published": {"test/ndcg@10": 0.3}, "seeds": 1}
    said = {"citation": "Doe, 2026", "figures": ["test/ndcg@10"], "rows": {"itemknn": row}}
    folder = tmp_path / "papers" / "doe2026"
    folder.mkdir(parents=True)
    (folder / "paper.yaml").write_text(yaml.safe_dump(said))
    assert cli.run(["reproduce", str(folder)]) == 0
    return folder


def test_runs_are_computed_again(
    paper: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "runs" / "reproduce" / "doe2026" / "itemknn_seed1"
    assert cli.run(["verify", str(run.parent)]) == 0
    assert "figures are equal to the last bit" in capsys.readouterr().out
    figures = read_json(run / "metrics.json")
    write_json(run / "metrics.json", figures | {"test/ndcg@10": 0.9})
    assert cli.run(["verify", str(run)]) == 1
    assert "metrics.json" in capsys.readouterr().out  # is not what was written
    checksums = read_json(run / "checksums.json")
    mended = {"metrics.json": [sha256_file(run / "metrics.json")]}
    write_json(run / "checksums.json", checksums | mended)
    assert cli.run(["verify", str(run)]) == 1
    assert "1 of" in (out := " ".join(capsys.readouterr().out.split()))
    assert "figures differ: test/ndcg@10" in out
    (run / "checksums.json").unlink()
    assert cli.run(["verify", str(run)]) == 1
    assert "checksums.json is missing" in " ".join(capsys.readouterr().out.split())


def test_records_are_of_their_data_and_tables_of_their_records(
    paper: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["verify", "--all", str(paper.parent)]) == 0
    assert cli.run(["verify", "--all", str(paper)]) == 0
    assert "of this data and this protocol, all records (1)" in capsys.readouterr().out
    path = paper / "runs" / "itemknn_seed1.json"
    record = json.loads(path.read_text())
    assert record["record_hash"] == hash_by_hand(record)
    write_json(path, sealed(record | {"protocol_hash": "0" * 64}))
    assert cli.run(["verify", "--all", str(paper.parent)]) == 1
    assert "itemknn_seed1.json has protocol_hash 000000000000, which is" in capsys.readouterr().out
    record["metrics"]["test/ndcg@10"] = 0.5
    write_json(path, record)  # a figure changed by hand
    assert cli.run(["verify", "--all", str(paper.parent)]) == 1
    assert f"NO doe2026: {path} is not as it was written" in unwrapped(capsys.readouterr().out)
    tables = (paper / "results.csv").read_text()
    for verb in ("reproduce", "compare", "report"):
        with pytest.raises(UserError, match=r"seed1\.json is not as it was written"):
            cli.run([verb, str(paper / "runs" if verb != "reproduce" else paper)])
    assert (paper / "results.csv").read_text() == tables
    write_json(path, sealed(record))
    assert cli.run(["verify", "--all", str(paper.parent)]) == 1
    assert "made of other records" in capsys.readouterr().out
    write_json(path, {key: record[key] for key in record if key != "record_hash"})
    assert cli.run(["reproduce", str(paper)]) == 0  # as records of earlier versions are
    assert cli.run(["verify", "--all", str(paper.parent)]) == 0
    told = "records of earlier versions, which have no record_hash: itemknn_seed1.json"
    assert told in unwrapped(capsys.readouterr().out)


def hash_by_hand(record: dict[str, Any]) -> str:
    """SHA-256 of all else as JSON without spaces, keys sorted."""
    said = {key: record[key] for key in sorted(record) if key != "record_hash"}
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def unwrapped(told: str) -> str:
    return " ".join(told.split())


def test_what_is_nothing_to_check_is_told(tmp_path: Path) -> None:
    for arguments, sentence in (
        ([], "Say what is checked"),
        ([str(tmp_path)], "no run folder"),
        (["--all", str(tmp_path)], "No paper lies below"),
    ):
        with pytest.raises(UserError, match=sentence):
            cli.run(["verify", *arguments])
