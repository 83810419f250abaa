"""`llmrec serve` as a process of its own: killed, stopped, reloaded, all under load. The same with more: the script."""


def test_kill_9_loses_nothing_that_was_acknowledged(faults, tmp_path):
    found = faults.kill(tmp_path, 10, clients=3)
    assert found["passed"], found
    assert found["kills"] == 10
    assert found["acknowledged"] > 10
    assert found["lists"] > 0


def test_a_stop_under_load_loses_no_request(faults, tmp_path):
    found = faults.stop(tmp_path, 3, clients=4)
    assert found["passed"], found
    assert found["exit_codes"] == {"0": 3}
    assert found["acknowledged_events"] > 0


def test_answers_are_of_one_bundle_whatever_is_swapped(faults, tmp_path):
    found = faults.swap(tmp_path, 0.0, count=6, clients=3)
    assert found["passed"], found
    assert found["changes"]["rollback"] >= 3
    assert found["answers"]["a"] > 0 < found["answers"]["b"]


def test_what_is_put_is_shown_and_what_is_dismissed_is_not(faults, tmp_path):
    found = faults.fresh(tmp_path, 5, further=60, clients=2)
    assert found["passed"], found
    assert found["restarts"] == 2
    assert len(found["problems"]) == found["dismissed_returned"] == 0
