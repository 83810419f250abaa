"""Templates that never end, or make more than there is room for: they end with an error."""

import time

import pytest

from llmrec.errors import TemplateError
from llmrec.text import bounded_rendering, list_templates
from llmrec.text._jinja import compile_part

RUNAWAYS = {
    "loops": "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
    "power": "{{ 7 ** 9999999 % 7 }}",
    "power of power": "{{ 10 ** 6 ** 6 ** 6 }}",
    "repeat": "{{ 'ab' * 999999999 }}",
    "repeat of lists": "{{ ([0] * 99999999)|length }}",
    "width": "{{ '%0999999999d' % 1 }}",
    "width of format": "{{ '{:>999999999}'.format('a') }}",
    "center": "{{ 'a'|center(999999999) }}",
    "method": "{{ 'a'.ljust(999999999) }}",
    "indent": "{{ ('a\n' * 9999)|indent(9999) }}",
    "replace": "{{ ('a' * 9999)|replace('a', 'b' * 9999) }}",
    "join": "{{ range(9999)|join('b' * 9999) }}",
    "doubling": "{% set n = namespace(x='a') %}{% for _ in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "doubling of lists": "{% set n = namespace(x=[]) %}{% for _ in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}"
    "{{ n.x }}",
    "blocks": "{% set n = namespace(x='a') %}{% for _ in range(60) %}{% set y %}{{ n.x }}{{ n.x }}{% endset %}"
    "{% set n.x = y %}{% endfor %}",
    "recursion": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "words": "{{ lipsum(9999, max=9999) }}",
    "written": "{% for a in range(99999) %}" + "x" * 9999 + "{% endfor %}",
}


@pytest.mark.parametrize("name", RUNAWAYS)
def test_a_runaway_template_ends_with_an_error(name):
    with bounded_rendering(60.0), pytest.raises(TemplateError):
        compile_part(RUNAWAYS[name])([{}])


def test_the_time_of_all_texts_together_is_bounded():
    def slow():
        while True:
            time.sleep(0.01)
            yield {}

    with bounded_rendering(0.05), pytest.raises(TemplateError, match="longer than"):
        compile_part("{% for a in 'abc' %}{{ a }}{% endfor %}")(slow())


def test_a_template_that_ends_makes_the_same_texts():
    source = """{% for e in history %}{{ loop.index }} of {{ loop.length }}: {{ e|upper ~ "!" }}
    {{ ", " if not loop.last }}{% endfor %}{{ (wish or "none")|truncate(9) }}
    {{ "%s-%d" % ("a", 2 + 3 * 4) }} {{ history|join("; ")|replace("a", "o") }}"""
    contexts = [{"history": ["salt", "map"], "wish": ""}, {"history": [], "wish": "a slow western"}]
    plain = compile_part(source)(contexts)
    with bounded_rendering(60.0):
        assert compile_part(source)(contexts) == plain


def test_templates_of_ours_compile_within_bounds():
    with bounded_rendering(60.0):
        for template in list_templates():
            for part in template.parts.values():
                compile_part(part)
