"""What W&B keeps of runs offline, by its own reader."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def offline_records(run: Path) -> Iterator[Any]:
    """Records of the one offline W&B run below ``run``, once all are written."""
    deadline = time.monotonic() + 10
    while True:  # W&B's own process writes them, and is not always done when a run is finished
        try:
            found = list(_records(run))
        except (AssertionError, ValueError):  # in the midst of one
            found = []
        ended = any(each.WhichOneof("record_type") == "exit" for each in found)
        if ended or (found and time.monotonic() > deadline):
            yield from found
            return
        assert time.monotonic() < deadline, f"{run} has no record that is whole."
        time.sleep(0.1)


def _records(run: Path) -> Iterator[Any]:
    reader = pytest.importorskip("wandb.sdk.internal.datastore")
    from wandb.proto import wandb_internal_pb2 as messages

    (path,) = (run / "wandb").glob("offline-run-*/*.wandb")
    store = reader.DataStore()
    store.open_for_scan(str(path))
    while (data := store.scan_data()) is not None:
        record = messages.Record()  # type: ignore[attr-defined]
        record.ParseFromString(data)
        yield record


def settings_of(records: list[Any]) -> dict[str, Any]:
    """The config of a run."""
    updates = [each for record in records for each in record.run.config.update]
    updates += [each for record in records for each in record.config.update]
    return {each.key: json.loads(each.value_json) for each in updates}


def history_of(records: list[Any]) -> dict[str, Any]:
    """What was logged last under each key; of tables and images what is said of their files."""
    found: dict[str, Any] = {}
    for item in (item for record in records for item in record.history.item):
        value = json.loads(item.value_json)
        first, *inner = item.nested_key or [item.key]
        if inner:
            found.setdefault(first, {})[".".join(inner)] = value
        else:
            found[first] = value
    return found


def artifacts_of(records: list[Any], kind: str) -> list[Any]:
    """Artifacts of a type that were logged."""
    return [each.artifact for each in records if each.artifact.type == kind]
