"""What waits is computed together; a question that fails, fails alone."""

import asyncio
import threading
from typing import Any

import pytest
from polars.exceptions import PanicException

from lightning_rec.errors import UserError
from lightning_rec.serving.compute import Compute


def test_what_waits_is_computed_together_and_by_its_group() -> None:
    sizes: list[int] = []
    compute, go = Compute(4, lambda size, wait: sizes.append(size)), threading.Event()

    def work(questions: list[Any]) -> list[Any]:
        go.wait(5)
        return [2 * each for each in questions]

    async def ask() -> list[Any]:
        first = asyncio.ensure_future(compute.ask("a", work, 0))
        while not sizes:
            await asyncio.sleep(0.001)
        rest = [asyncio.ensure_future(compute.ask("ab"[n % 2], work, n)) for n in range(1, 11)]
        await asyncio.sleep(0)
        go.set()
        return await asyncio.gather(first, *rest)

    assert asyncio.run(ask()) == [2 * n for n in range(11)]
    assert sizes == [1, 4, 4, 1, 1]  # b: 1 3 5 7, a: 2 4 6 8, b: 9, a: 10
    compute.end()


def test_a_question_that_fails_fails_alone() -> None:
    compute = Compute(64)

    def work(questions: list[Any]) -> list[Any]:
        if 3 in questions:
            raise UserError("three")
        return questions

    async def ask() -> list[Any]:
        asked = [compute.ask("a", work, n) for n in range(6)]
        return await asyncio.gather(*asked, return_exceptions=True)

    found = asyncio.run(ask())
    assert [each for each in found if not isinstance(each, UserError)] == [0, 1, 2, 4, 5]
    assert str(found[3]) == "three"
    compute.end()


def test_a_panic_of_polars_does_not_end_the_thread() -> None:
    compute = Compute(64)

    def work(questions: list[Any]) -> list[Any]:
        if 3 in questions:
            raise PanicException("three")
        return questions

    async def ask() -> list[Any]:
        asked = [compute.ask("a", work, n) for n in range(6)]
        return await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 5)

    found = asyncio.run(ask())
    assert [str(each) for each in found] == ["0", "1", "2", "three", "4", "5"]
    assert isinstance(found[3], RuntimeError)
    compute.end()


def test_what_nobody_waits_for_is_not_computed() -> None:
    compute, done, go = Compute(64), list[Any](), threading.Event()

    def work(questions: list[Any]) -> list[Any]:
        go.wait(5)
        done.extend(questions)
        return questions

    async def ask() -> None:
        first = asyncio.ensure_future(compute.ask("a", work, 1))
        await asyncio.sleep(0.05)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(compute.ask("a", work, 2), 0.05)
        go.set()
        await first
        await compute.ask("a", work, 3)

    asyncio.run(ask())
    assert done == [1, 3]
    compute.end()
