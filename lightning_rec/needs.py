"""What parts declare that they need of one another; :mod:`lightning_rec.compat` checks it."""

from typing import NamedTuple

PRESENT, ABSENT = "present", "absent"  # traits of a node itself


class Need(NamedTuple):
    """What a part needs of another one.

    node: the other one, in the config; of several, parted by ``|``, one has to do.
    trait: an attribute that has to be true there, dots allowed; a tuple of names, of which its
        ``family`` or ``name`` has to be one; ``PRESENT``; or ``ABSENT``.
    why: the rest of a sentence that begins with the part's name.
    remedy: what to do instead of what follows from the facts.
    """

    node: str
    trait: str | tuple[str, ...]
    why: str
    remedy: str = ""


LOSS = Need("loss", PRESENT, "is trained by gradient steps and needs a loss")
