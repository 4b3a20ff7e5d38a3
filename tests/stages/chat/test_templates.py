"""What a template of the user's may do, and what it may not; every attack ends with words."""

import pytest

from hasse.data.errors import SourceError
from hasse.stages.chat.templates import render
from hasse.stages.judge.panel_settings import TEMPLATES

VALUES = {
    "question": "What is it?",
    "reference": "a",
    "candidates": [{"tag": "A", "text": "one"}, {"tag": "B", "text": "two"}],
    "aspects": [],
    "kinds": {"open": [], "closed": []},
    "low": "1",
    "high": "10",
}


def rendered(tmp_path, text: str) -> str:
    path = tmp_path / "template.j2"
    path.write_text(text, encoding="utf-8")
    return render(path, VALUES)


HARMLESS = [
    ("{% for c in candidates %}{{ loop.index }}{{ c.tag }}{{ ';' if not loop.last }}{% endfor %}", "1A;2B"),
    ("{{ question | upper }} {{ candidates | length }}", "WHAT IS IT? 2"),
    ("{{ candidates | map(attribute='tag') | join(', ') }}", "A, B"),
    ("{{ candidates | join('-', attribute='text') }}", "one-two"),
    ("{{ question.split()[0] }} {{ '%g %5.1f%%' % (1.5, 2) }}", "What 1.5   2.0%"),
    ("{% set ns = namespace(n=0) %}{% for i in range(3) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}", "3"),
    ("{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m('a') ~ m('b') }}{{ 2 * 3 }}{{ 'ab' * 2 }}", "<a><b>6abab"),
    ("{{ candidates | tojson }}", '[{"tag": "A", "text": "one"}, {"tag": "B", "text": "two"}]'),
]


@pytest.mark.parametrize(("text", "expected"), HARMLESS)
def test_a_template_formats_what_it_is_given(tmp_path, text, expected):
    assert rendered(tmp_path, text) == expected


ATTACKS = [
    "{{ question.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__'] }}",
    "{{ question|attr('__class__') }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ candidates.append(1) }}",
    "{{ candidates[0].update(text='mine') }}",
    "{{ '{0.__class__}'.format(question) }}",
    "{{ question.format_map({}) }}",
    "{{ '{:999999999}'.format(1) }}",
    "{% set a %}" + "x" * 90000 + "{% endset %}{% set b %}{% for i in range(99999) %}{{ a }}{% endfor %}{% endset %}",
    "{% set b %}{% for i in range(99999) %}" + "x" * 9000 + "{% endfor %}{% endset %}",
    "{% include '/etc/passwd' %}",
    "{% import '/etc/passwd' as p %}",
    "{% extends '/etc/passwd' %}",
    "{% for i in range(10**9) %}x{% endfor %}",
    "{% for i in range(1000000000) %}x{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% set r = range(99999) %}{% for i in r %}{% for j in r %}{% for k in r %}{% endfor %}{% endfor %}{% endfor %}",
    "{% macro f(n) %}{{ f(n - 1) if n }}{{ f(n - 1) if n }}{% endmacro %}{{ f(60) }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{{ 'x' * 1000000000 }}",
    "{{ [1] * 1000000000 }}",
    "{{ 9 ** 9 ** 9 ** 9 }}",
    "{% set a = 9 %}" + "{% set a = a * a %}" * 40 + "{{ a }}",
    "{% set a = question ~ question %}" + "{% set a = a ~ a %}" * 40 + "{{ a }}",
    "{% set a = question + question %}" + "{% set a = a + a %}" * 40 + "{{ a }}",
    "{% set a = 'xxxxxxxxxx' %}" + "{% set a %}{{ a }}{{ a }}{% endset %}" * 40 + "{{ a }}",
    "{{ '%999999999d' % 1 }}",
    "{{ '%*d' % (999999999, 1) }}",
    "{{ question | center(1000000000) }}",
    "{{ question.ljust(1000000000) }}",
    "{{ question.replace('', question) }}",
    "{{ question | indent(1000000000) }}",
    "{{ [1] | batch(1000000000, 'x') | list }}",
    "{{ range(99999) | join(question * 1000) }}",
    "{{ lipsum(n=1000000) }}",
    "{{ nothing }}",
    "{% for c in candidates %}",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{{ 1 / 0 }}",
    "{{ candidates + 1 }}",
    "\ud800".encode("utf-8", "surrogatepass").decode("latin-1") + "{{ question.__dict__ }}",
]


@pytest.mark.parametrize("text", ATTACKS, ids=range(len(ATTACKS)))
@pytest.mark.timeout(120)
def test_an_attack_ends_with_words(tmp_path, text):
    with pytest.raises(SourceError, match=r"template\.j2: "):
        rendered(tmp_path, text)
    assert VALUES["candidates"] == [{"tag": "A", "text": "one"}, {"tag": "B", "text": "two"}]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * 2_000_000])
def test_a_file_that_is_no_template_is_named(tmp_path, content):
    (tmp_path / "template.j2").write_bytes(content)
    with pytest.raises(SourceError, match=r"template\.j2"):
        render(tmp_path / "template.j2", VALUES)
    with pytest.raises(SourceError, match="there is no such file"):
        render(tmp_path, VALUES)


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.j2")), ids=lambda path: path.name)
def test_the_shipped_templates_need_no_more(path):
    assert "What is it?" in render(path, VALUES)
