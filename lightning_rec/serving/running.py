"""A server of uvicorn: its signals, the look for another model, and how it ends."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import uvicorn

from lightning_rec.errors import UserError
from lightning_rec.serving.app import make_app
from lightning_rec.serving.keys import VARIABLE, Keys
from lightning_rec.serving.opening import version_of
from lightning_rec.serving.service import Service
from lightning_rec.serving.settings import Settings

# Seconds after which Python's threads take turns. By its own 5 ms the one that computes, which
# comes back to Python between two operations of torch, would wait so long for the one that answers.
_SWITCH = 1e-4
_BACKLOG = 2048  # connections that wait to be accepted
_GRACE = 30  # seconds for requests that run when the server is ended

log = logging.getLogger(__name__)


def serve(settings: Settings, tell: Callable[[str], None]) -> None:
    """Answer until SIGTERM or Ctrl-C; requests that run then are answered first.

    SIGHUP opens the model again. Raises UserError for a model that cannot be opened, an address
    that cannot be had, or where others could ask without a key.
    """
    keys = Keys.of(settings.keys)
    if not settings.is_local and not keys:
        raise UserError(
            f"host={settings.host} lets others ask: say keys=FILE, with a name and a key in each "
            f"line, or set {VARIABLE}. Without keys it is host=127.0.0.1."
        )
    torch.set_num_threads(settings.threads)
    sys.setswitchinterval(_SWITCH)
    listening = _listen(settings)
    try:
        service = Service(settings)
        config = _config(service, keys)
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(_run(service, config, listening, tell))
    finally:
        listening.close()


class _Server(uvicorn.Server):
    """One that ends with status 0 on a signal: uvicorn sends itself the signal again."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End on SIGTERM and Ctrl-C."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def _config(service: Service, keys: Keys) -> uvicorn.Config:
    proxy = service.settings.proxy
    return uvicorn.Config(
        make_app(service, keys),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(proxy),
        forwarded_allow_ips=proxy or None,
        timeout_graceful_shutdown=_GRACE,
        h11_max_incomplete_event_size=2**16,
    )


async def _run(
    service: Service,
    config: uvicorn.Config,
    listening: socket.socket,
    tell: Callable[[str], None],
) -> None:
    settings = service.settings
    server = _Server(config)
    loop, tasks = asyncio.get_running_loop(), set[asyncio.Task[None]]()

    def reload() -> None:
        task = loop.create_task(_reload(service))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    if hasattr(signal, "SIGHUP"):
        loop.add_signal_handler(signal.SIGHUP, reload)
    watching = loop.create_task(watch(service)) if settings.watch else None
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    port, page = listening.getsockname()[1], "/demo" if settings.demo else "/openapi.json"
    tell(f"{service.model.predictor.name} answers at http://{host}:{port} (process {os.getpid()}).")
    if settings.experiment:
        kinds = (f"{n} is {m.folder} ({m.predictor.name})" for n, m in service.models.items())
        tell(f"Experiment {settings.experiment}: {', '.join(kinds)}.")
    tell(f"See http://{host}:{port}{page}. Ctrl-C ends it.")
    await server.serve(sockets=[listening])
    if watching is not None:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


async def _reload(service: Service) -> None:
    with contextlib.suppress(UserError):  # it is logged, and /version tells it
        await service.reload()


async def watch(service: Service) -> None:
    """Open the models again whenever what names them leads to other files, or a file is another.

    Files that were broken may come right, or go wrong, while the record of them stays as it was.
    """
    settings, missed = service.settings, 0
    paths = [*settings.paths.values(), *([settings.taste] if settings.taste else [])]
    # None: a change since they were opened has to be looked for.
    tried = _stamps(paths) if _versions(paths) == service.versions else None
    while True:
        await asyncio.sleep(settings.watch)
        found = _stamps(paths)
        missed = missed + 1 if found is None else 0
        if missed == 1:  # a link that is being set; a folder that is gone stays so
            continue
        if found != tried:
            await _reload(service)
        tried = found


def _versions(paths: list[Path]) -> list[str] | None:
    try:
        return [version_of(path.resolve(strict=True)) for path in paths]
    except OSError:
        return None


def _stamps(paths: list[Path]) -> list[list[tuple[str, int, int]]] | None:
    """Changes whenever a file below one of some folders does; None where one is not there."""
    try:
        return [_stamp(path.resolve(strict=True)) for path in paths]
    except OSError:
        return None


def _stamp(folder: Path) -> list[tuple[str, int, int]]:
    """Each file below a folder, its size, and when it was changed."""
    facts = [(str(path), path.stat()) for path in sorted(folder.rglob("*")) if path.is_file()]
    return [(path, each.st_size, each.st_ctime_ns) for path, each in facts]


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # By its name: asyncio sends small answers at once (TCP_NODELAY) only where it sees this one.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((settings.host, settings.port))
        made.listen(_BACKLOG)
    except OSError as error:
        raise UserError(
            f"host={settings.host} port={settings.port} cannot be had ({error.strerror}): say "
            "another port."
        ) from None
    made.setblocking(False)
    return made
