"""Text in another encoding than UTF-8: what it may be."""

import re
from collections.abc import Iterable

from lightning_rec.data.plain import Unfit
from lightning_rec.errors import UserError, listed

_SHOWN = 40  # characters of a value that are shown
_LINES = 1000  # that are not UTF-8, by which an encoding is told
_TRIED = ("cp1250", "cp1251", "gb18030", "big5", "shift_jis", "euc_jp", "euc_kr")
_CONTROLS = set(range(0x80, 0xA0))  # of latin-1; signs of cp1252, but for these
_WESTERN = {
    *range(0xC0, 0x100),
    *b"\x80\x85\x8a\x8c\x8e\x91\x92\x93\x94\x95\x96\x97\x99\x9a\x9c\x9e\x9f",
}
_WESTERN |= {*b"\xa0\xa1\xa3\xa7\xa9\xab\xae\xb0\xb4\xb7\xbb\xbf"}  # letters and usual signs
_UNDEFINED = {0x81, 0x8D, 0x8F, 0x90, 0x9D}


def not_utf8(name: str, lines: Iterable[tuple[int, bytes]]) -> UserError | None:
    """What to do about a text that is not in UTF-8, by number and bytes of its lines; None if it
    is.

    Letters of the West stand alone among plain ones, and latin-1 or cp1252 is proposed for them.
    Where they stand together, a few readings are shown instead: none can be told from the bytes.
    """
    first, runs = None, []
    for at, line in lines:
        try:
            line.decode()
        except UnicodeDecodeError as error:
            first = first or (at, line, error.start)
            runs += re.findall(rb"[\x80-\xff]+", line)
            if len(runs) >= _LINES:
                break
    if first is None:
        return None
    at, line, start = first
    found = set(b"".join(runs))
    told = f"{name}, line {at} is not UTF-8 text (byte 0x{line[start]:02x})"
    alone = sum(len(run) == 1 and run[0] in _WESTERN for run in runs) > len(runs) / 2
    if alone and not found & _UNDEFINED:
        guess = "cp1252" if found & _CONTROLS else "latin-1"
        read = _excerpt(line, start, guess)
        return Unfit(
            f"{told}: say in which encoding it is, data.encoding={guess} (which reads {read!r}) or "
            "another.",
            encoding=guess,
        )
    readings = {each: _excerpt(line, start, each) for each in ("cp1252", *_TRIED)}
    shown = listed(f"{each} reads {text!r}" for each, text in readings.items() if text)
    return UserError(f"{told}: {shown}. Say which reads right: data.encoding=NAME.")


def _excerpt(line: bytes, start: int, encoding: str) -> str:
    """The word at ``start`` in an encoding; empty if it cannot be read so."""
    begin = max(line.rfind(sign, 0, start) for sign in (b",", b";", b"\t", b"|", b":", b'"')) + 1
    ends = [line.find(sign, start) for sign in (b",", b"\t", b"\n", b":", b'"')]
    end = min((end for end in ends if end > 0), default=len(line))
    try:
        return line[begin:end][:_SHOWN].decode(encoding).strip()
    except UnicodeDecodeError:
        return ""
