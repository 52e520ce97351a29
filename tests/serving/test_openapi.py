"""The description of the interface, and thousands of requests made of it: none is a fault of ours."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from serving.servers import Asking, Server

from lightning_rec.serving.errors import STATUS


def test_the_description_has_every_address_its_errors_and_examples(
    sasrec: Path, served: Callable[..., Asking]
) -> None:
    told = served(sasrec)("/openapi.json").body
    asks = ["/recommend", "/similar", "/search", "/predict", "/events", "/admin/reload"]
    assert set(told["paths"]) == {*asks, "/health", "/ready", "/metrics", "/version"}
    for path in asks:
        assert {str(status) for status in STATUS.values()} <= set(told["paths"][path]["post"]["responses"])  # fmt: skip
    for name in ("Recommend", "Similar", "Search", "Predict", "Events"):
        assert told["components"]["schemas"][f"{name}Request"]["examples"]


@pytest.mark.slow
def test_no_request_of_schemathesis_is_a_fault(
    sasrec: Path, process: Callable[..., Server], tmp_path: Path
) -> None:
    pytest.importorskip("schemathesis")
    server = process(sasrec, f"log={tmp_path / 'requests.jsonl'}")
    checks = "not_a_server_error,content_type_conformance,response_schema_conformance,status_code_conformance"
    amount = os.environ.get("SCHEMATHESIS_EXAMPLES", "25")
    words = ["-m", "schemathesis.cli", "run", f"{server.address}/openapi.json", "--checks", checks,
             "--max-examples", amount, "--seed", "1", "--phases", "examples,fuzzing"]  # fmt: skip
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert '"status": 500' not in (tmp_path / "requests.jsonl").read_text()
