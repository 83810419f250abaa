"""Lines are found wherever the body is cut, one at a time in memory."""

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.serve.api._lines import Line, read_lines
from llmrec.serve.api._together import apart, together
from llmrec.serve.problems import Problem, Unavailable, Unprocessable


def lines_of(pieces, most=4, longest=50, first=1):
    async def run():
        async def source():
            for piece in pieces:
                yield piece

        return [group async for group in read_lines(source(), most=most, longest=longest, first=first)]

    return asyncio.run(run())


def flat(groups):
    return [line for group in groups for line in group]


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=8), st.integers(1, 5), st.integers(1, 60))
def test_cuts_change_nothing(body, cuts, most, longest):
    body = body.replace(b"\xef\xbb\xbf", b"x")
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[a:b] for a, b in itertools.pairwise(places)]
    groups = lines_of(pieces, most, longest)
    expected = []
    for number, part in enumerate(body.split(b"\n"), start=1):
        data = None if len(part) > longest else part.strip(b" \t\r")
        expected += [] if data == b"" else [Line(number, data)]
    assert flat(groups) == expected
    assert all(1 <= len(group) <= most for group in groups)


def test_what_other_programs_write_is_read():
    assert flat(lines_of([b"\xef\xbb\xbf{}\r\n\r\n  {}", b"\n"])) == [Line(1, b"{}"), Line(3, b"{}")]
    assert flat(lines_of([b"\xef\xbb\xbf{}"])) == [Line(1, b"{}")]
    assert flat(lines_of([b"a\n\nb"], first=7)) == [Line(7, b"a"), Line(9, b"b")]
    assert lines_of([]) == lines_of([b""]) == lines_of([b"\n \n"]) == []


def test_a_line_over_the_limit_is_not_kept():
    pieces = [b"a\n", *[b"x" * 40] * 1000, b"\nb\n"]
    assert flat(lines_of(pieces)) == [Line(1, b"a"), Line(2, None), Line(3, b"b")]


def test_nothing_is_read_ahead():
    read = []

    async def source():
        for n in range(5):
            read.append(n)
            yield b"{}\n{}\n"

    async def run():
        groups = read_lines(source(), most=1, longest=9)
        await anext(groups)
        await anext(groups)
        assert read == [0]
        await anext(groups)
        assert read == [0, 1]

    asyncio.run(run())


@given(st.lists(st.booleans(), min_size=1, max_size=64))
def test_one_that_is_refused_stops_only_itself(good):
    goes = []

    async def do(things):
        goes.append(len(things))
        if not all(good[thing] for thing in things):
            raise Unprocessable("no")
        return [10 * thing for thing in things]

    found = asyncio.run(together(range(len(good)), do))
    assert [not isinstance(one, Problem) for one in found] == good
    assert [one for one in found if not isinstance(one, Problem)] == [10 * n for n, ok in enumerate(good) if ok]
    refused = good.count(False)
    assert len(goes) <= 1 + 2 * refused * max(1, (len(good) - 1).bit_length())


def test_room_is_waited_for_and_not_for_ever(monkeypatch):
    async def nothing(seconds):
        waits.append(seconds)

    monkeypatch.setattr("llmrec.serve.api._together.asyncio.sleep", nothing)
    waits, left = [], [Unavailable("later", 3.0), Unavailable("later"), None]

    async def do(things):
        failure = left.pop(0)
        if failure:
            raise failure
        return things

    assert asyncio.run(together([1, 2], do)) == [1, 2]
    assert waits[0] == 3.0
    left = [Unavailable("much later", 3600.0)]
    assert [one.status for one in asyncio.run(together([1, 2], do))] == [503, 503]


@given(st.lists(st.one_of(st.none(), st.integers(0, 5)), max_size=30))
def test_no_name_is_twice_in_a_run(names):
    runs = list(apart(names, lambda name: name))
    assert [name for run in runs for name in run] == names
    for run in runs:
        named = [name for name in run if name is not None]
        assert run
        assert len(set(named)) == len(named)


@pytest.mark.parametrize("status", [429, 503])
def test_refusals_of_the_moment_are_not_taken_apart(status, monkeypatch):
    monkeypatch.setattr("llmrec.serve.api._together.PATIENCE_S", 0.0)
    goes = []

    async def do(things):
        goes.append(len(things))
        problem = Unavailable("no")
        problem.status = status
        raise problem

    assert len(asyncio.run(together(range(8), do))) == 8
    assert goes == [8]
