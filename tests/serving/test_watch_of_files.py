"""``watch=`` sees each file of a model: what is broken in its place is told, and does not serve."""

import asyncio
import contextlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from serving.servers import Asking

from lightning_rec.bundle.export import export
from lightning_rec.serving.running import watch


@pytest.fixture(scope="module")
def bundle(sasrec: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(sasrec, tmp_path_factory.mktemp("watched") / "bundle")


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


def test_a_file_that_changes_under_the_same_manifest_is_told(bundle: Path, tmp_path: Path) -> None:
    """Changed, restored, gone, and back: the model before goes on, and none is opened for nothing."""
    folder, kept = Path(shutil.copytree(bundle, tmp_path / "model")), tmp_path / "kept"
    asked = {"history": ["i03", "i10"], "k": 5}

    async def watched() -> None:
        ask = Asking(folder, watch=0.05)
        service, opened = ask.service, list[float]()
        reload = service.reload

        async def counted() -> None:
            opened.append(time.monotonic())
            await reload()

        service.reload = counted  # type: ignore[method-assign]
        watching = asyncio.create_task(watch(service))
        before = (await ask.post("/recommend", asked)).body
        await asyncio.sleep(0.3)
        assert opened == []
        items = folder / "items.parquet"
        whole = items.read_bytes()
        items.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # of the same size
        await until(lambda: service.problem is not None)
        assert "items.parquet is not as it was written" in str(service.problem)
        told = (await ask._get("/version", {})).body["reload_error"]
        assert told == service.problem
        assert (await ask.post("/recommend", asked)).body == before
        await asyncio.sleep(0.3)
        assert len(opened) == 1  # not again and again
        items.write_bytes(whole)
        await until(lambda: service.problem is None)
        folder.rename(kept)
        await until(lambda: service.problem is not None)
        assert "there is no such folder" in str(service.problem)
        kept.rename(folder)
        await until(lambda: service.problem is None)
        assert (await ask.post("/recommend", asked)).body == before
        assert len(opened) == 4
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        await ask.close()

    asyncio.run(watched())
