import threading
import time

import pytest
import torch

from llmrec.models import in_threads


@pytest.fixture(params=["1", "3"])
def threads(request, monkeypatch):
    monkeypatch.setenv("LLMREC_THREADS", request.param)
    return int(request.param)


def test_results_come_in_the_order_of_the_parts(threads):
    assert in_threads(lambda part: part * part, range(50)) == [part * part for part in range(50)]
    assert in_threads(str, []) == []


def test_parts_are_worked_on_at_once(monkeypatch):
    monkeypatch.setenv("LLMREC_THREADS", "2")
    both = threading.Barrier(2, timeout=30)  # passed only by two at a time
    assert in_threads(lambda part: both.wait() >= 0, range(4)) == [True] * 4


def test_an_error_is_the_callers(threads):
    def fail(part):
        raise ZeroDivisionError(part)

    with pytest.raises(ZeroDivisionError):
        in_threads(fail, range(3))


def test_torch_has_one_thread_within_and_as_many_as_before_after(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert in_threads(lambda part: torch.get_num_threads(), range(6)) == [1] * 6
        assert torch.get_num_threads() == 2
        with pytest.raises(ZeroDivisionError):
            in_threads(lambda part: 1 // 0, range(3))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_work_that_shares_out_work_does_not_wait_for_itself(monkeypatch):
    monkeypatch.setenv("LLMREC_THREADS", "2")
    found = in_threads(lambda part: in_threads(lambda inner: (part, inner), range(3)), range(8))
    assert found == [[(part, inner) for inner in range(3)] for part in range(8)]


def test_nothing_goes_on_behind_an_error(monkeypatch):
    monkeypatch.setenv("LLMREC_THREADS", "2")
    done = []

    def work(part):
        if part == 0:
            raise ZeroDivisionError
        time.sleep(0.01)
        done.append(part)

    with pytest.raises(ZeroDivisionError):
        in_threads(work, range(6))
    assert sorted(done) == [1, 2, 3, 4, 5]
