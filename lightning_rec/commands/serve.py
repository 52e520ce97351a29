"""``lightning-rec serve model=FOLDER``: a trained model behind HTTP."""

from lightning_rec.commands.hydra_main import take_keys
from lightning_rec.commands.loading import loading
from lightning_rec.errors import UserError, import_extra, suggest
from lightning_rec.screen import Screen

HELP = """\
A trained model behind HTTP: recommendations, similar items, search and scores,
with sessions that events change at once.

usage: lightning-rec serve model=FOLDER [port=8000] [KEY=VALUE ...]

Only this machine can ask, unless host= is said, which needs keys. KEYs are

  host port keys proxy            who asks, and where
  body history k rows rate        limits of a request and of a caller
  concurrency timeout             how many are answered at once, and how long
  batch threads                   computed together, by how many cores
  sessions users session_items session_hours      memory, or redis://…
  cache cache_seconds             answers that are kept
  log log_bytes log_files         a line of JSON for each request
  log_ids log_items               what it names
  experiment variants shares      users by model, as docs/experiments.md tells
  interleave                      two models in one list
  watch                           seconds between two looks for another model
  items                           columns that where= of searches asks of, as of 'search'
  taste weight                    searches in the order of a user, as of 'search'
  confidence                      whether the first answer fits, as of 'answer'
  demo also                       a page at /demo, and a second model on it
  mcp                             tools for assistants at /mcp

SIGHUP opens the model again, SIGTERM ends the server after its last answers.
docs/serving.md has a section for each task. It needs the extra 'serve'.

Examples:
  lightning-rec serve model=runs/sasrec
  lightning-rec serve model=runs/sasrec demo=true also=runs/bert4rec
  lightning-rec serve model=current host=0.0.0.0 keys=keys.txt watch=5 \\
    sessions=redis://localhost:6379/0 log=requests.jsonl
"""


def run(arguments: list[str]) -> int:
    """Serve until it is ended. Raises UserError on bad input."""
    for library in ("fastapi", "uvicorn", "prometheus_client"):
        import_extra(library, "serve", "serve")
    from lightning_rec.serving.settings import Settings

    known = tuple(Settings.model_fields)
    said, rest = take_keys(arguments, *known)
    if rest:
        word = rest[0].partition("=")[0]
        raise UserError(f"'{rest[0]}' is no key of serve.{suggest(word, known, limit=40)}")
    if not said.get("model") and not said.get("variants"):
        raise UserError("Say which model: lightning-rec serve model=FOLDER, or variants=")
    settings = Settings.of(dict(said))
    with loading():
        from lightning_rec.serving.running import serve

    console = Screen()
    serve(settings, lambda told: console.print(told, highlight=False, soft_wrap=True))
    return 0
