"""``lightning-rec events``: events as they come, kept as Parquet or sent to a server."""

from pathlib import Path

from lightning_rec.commands.asked import flag, keys_of, nothing_else
from lightning_rec.commands.loading import loading
from lightning_rec.commands.sets import number
from lightning_rec.errors import UserError
from lightning_rec.screen import Screen

HELP = """\
Take events as they come from a file that grows, Redis Streams or Kafka, and keep
them as Parquet for training, or send them to a server. Killed at any moment, it
goes on where it was: each event is kept, and counts once.

usage: lightning-rec events from=FILE to=FOLDER|http://HOST:PORT [follow=true]
       lightning-rec events from=redis://HOST:6379/0/STREAM to=...
       lightning-rec events from=kafka://HOST:9092/TOPIC to=...
       [user=user] [item=item] [time=time] [key=key] [columns=kind,price]
       [batch=10000] [seconds=5] [state=FILE]

Events are JSON objects with user, item and time (other names of these fields:
user=uid; time=null: they have none). Their key, such as the number of an order,
says which are the same; without one each place in the source is an event of its
own. columns= names further fields that are kept, such as the kind of an event.
A file is JSON lines, and may be rotated by renaming, or be replaced by a copy.
to=FOLDER gets parts of Parquet of up to batch= events, which data=table
data.path=FOLDER reads; a part is written when no event came for seconds=, too.
to=http://... sends each to /events, with the key of the variable LIGHTNING_REC_KEY
if one is wanted; state= keeps how far it came.
Without follow=true it ends when there is no more.

Examples:
  lightning-rec events from=events.jsonl to=events
  lightning-rec events from=redis://localhost:6379/0/clicks to=events follow=true
  lightning-rec events from=events.jsonl to=http://127.0.0.1:8000 state=sent.json
"""
KEYS = (
    "from", "to", "user", "item", "time", "key", "columns", "batch", "seconds", "state", "follow",
)  # fmt: skip


def run(arguments: list[str]) -> int:
    """Take events until there are no more. Raises UserError on bad input."""
    known = {word.partition("=")[0] for word in arguments}
    if not {"from", "to"} <= known:
        raise UserError("Say where from and where to: events from=FILE to=FOLDER; see --help.")
    said, others = keys_of(arguments, "events", KEYS)
    nothing_else(others, "events")
    with loading():
        from lightning_rec.feeds import reading, sinks
        from lightning_rec.feeds.sources import batches, source_of
        from lightning_rec.runs.locks import one_writer

    most = number("batch", said.get("batch", "10000"), int)
    seconds = number("seconds", said.get("seconds", "5"), float)
    if most < 1 or not 0 <= seconds < 3600:
        raise UserError("batch= is from 1 on, seconds= from 0 to 3600.")
    to, follow = said["to"], flag(said, "follow")
    is_server = to.startswith(("http://", "https://"))
    if is_server != ("state" in said):
        raise UserError("state=FILE goes with to=http://…: it keeps how far events were sent.")
    names: dict[str, str | None] = {name: said.get(name, name) for name in reading.COLUMNS}
    if is_server or names["time"] == "null":  # a server has its own clock
        names["time"] = None
    columns = said["columns"].strip("[]").replace(" ", "").split(",") if "columns" in said else []
    reading.check_columns(columns, names)
    source, total, new, bad = source_of(said["from"], follow=follow), 0, 0, 0
    place = Path(said["state"] if is_server else to)
    put = place.with_name(f"{place.name}.refused.jsonl")
    with one_writer(place.with_name(f"{place.name}.lock")):
        sink = sinks.sink_of(to, place, put, names, columns)
        wait = seconds if follow else 0.0
        begun, kind = sink.position(), sink.kind()
        for rows, position in batches(source, begun, most, wait, follow=follow):
            events, refused = reading.events_of(rows, names, kind, columns)
            # Who follows a stream goes on: what comes first may be what is broken.
            if not (follow or begun or total):
                reading.check_first(said["from"], events, refused, columns)
            sinks.aside(refused, put)
            new += sink.take(events, position)
            odd = len(sink.refused())
            total, bad = total + len(events) - odd, bad + len(refused) + odd
            kind = kind or sink.kind()
    again = total - new
    Screen().print(
        f"{new:,} events taken, {again:,} that were known, {bad:,} lines that are no events"
        + (f", kept in {put}: mend them, and say from={put}." if bad else "."),
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    return 0
