"""Every registered component stands in a contract suite, in its own role."""

from llmrec.component import component_names, find_component


def test_every_registered_component_is_in_a_suite(suites):
    assert set(suites) == set(component_names())
    assert suites == {name: find_component(name).role for name in suites}
