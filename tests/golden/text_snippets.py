# SPDX-License-Identifier: Apache-2.0
"""Small templates, one rule of the language each; make_text.py records what Jinja makes of them."""

# Seen by every snippet beside `messages`.
VARIABLES = {
    "n": 3, "x": 2.5, "yes": True, "no": False, "nothing": None, "name": "Ada", "text": "  Hello, World  ",
    "unicode": "Straße ÉCOLE ǆ ñ 日本 😀", "lines": "one\ntwo\r\nthree\n", "empty": "", "numbers": [3, 1, 2], "none_list": [],
    "words": ["pear", "Apple", "fig", "apple"], "mixed": [1, "a", None, True, 1.5, [2], {"k": "v"}],
    "person": {"name": "Ada", "age": 36, "tags": ["x", "y"], "items": "shadowed"},
    "people": [{"name": "Ada", "age": 36}, {"name": "Bob", "age": 25}, {"name": "cyd", "age": 36}],
    "tree": [{"v": 1, "c": [{"v": 2, "c": []}, {"v": 3, "c": [{"v": 4, "c": []}]}]}],
    "nested": {"a": {"b": [10, 20, {"c": "deep"}]}, "B": 2, "c": "x"}, "html": "<b>\"a\" & 'b'</b>", "digits": "42", "big": 9007199254740993,
}

SNIPPETS = r"""
{{ n }} {{ x }} {{ yes }} {{ no }} {{ nothing }} {{ name }} {{ missing }}|
{{ 1 + 2 }} {{ 7 - 10 }} {{ 3 * 4 }} {{ 7 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 2 ** 0.5 }}
{{ 7.0 // 2 }} {{ -7.5 // 2 }} {{ 7.5 % 2 }} {{ -7.5 % 2 }} {{ 1 / 3 }} {{ 1e16 }} {{ 1e15 }} {{ 1.5e-5 }} {{ 0.0001 }} {{ 123456789.125 }} {{ 1e100 }} {{ 10.0 }}
{{ -n }} {{ +n }} {{ - 2 ** 2 }} {{ -n|abs }} {{ (-n)|abs }} {{ -x }} {{ -yes }}
{{ 1 / 0 }}
{{ 1 // 0 }}
{{ 1 % 0 }}
{{ "a" ~ 1 ~ none ~ true ~ 1.0 ~ [1, "x"] ~ missing }}
{{ "a" + "b" }} {{ "ab" * 3 }} {{ 2 * "xy" }} {{ [1] + [2] }} {{ [0] * 3 }} {{ (1, 2) + (3,) }}
{{ "a" + 1 }}
{{ missing + "a" }}
{{ missing.attribute }}
{{ missing["x"] }}
{{ missing() }}
{{ name.missing }}|{{ person.missing }}|{{ person["missing"] }}|{{ numbers[10] }}|{{ numbers[-1] }}|{{ numbers[-4] }}
{{ person.missing.deeper }}
{{ person.name }} {{ person["age"] }} {{ person.tags[0] }} {{ person.tags.0 }} {{ nested.a.b[2].c }} {{ nested["a"]["b"].1 }}
{{ person.items is callable }} {{ person["items"] }} {{ person.get("name") }} {{ person.get("zz") }} {{ person.get("zz", 5) }}
{% for k, v in person.items() %}{{ k }}={{ v }};{% endfor %}
{% for k in person %}{{ k }};{% endfor %}{% for k in person.keys() %}{{ k }};{% endfor %}{% for v in person.values() %}{{ v }};{% endfor %}
{{ numbers[1:] }} {{ numbers[:1] }} {{ numbers[::-1] }} {{ numbers[-2:] }} {{ numbers[::2] }} {{ numbers[5:] }} {{ numbers[:-1] }} {{ name[0] }} {{ name[-1] }} {{ name[1:] }} {{ name[::-1] }} {{ unicode[2:8] }}
{{ numbers[::0] }}
{{ numbers["x"] }}|{{ name["x"] }}|{{ n[0] }}
{{ 1 == 1.0 }} {{ 1 == true }} {{ "1" == 1 }} {{ none == none }} {{ missing == missing }} {{ [1, 2] == [1, 2] }} {{ (1,) == [1] }} {{ {"a": 1} == {"a": 1.0} }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 3 > 2 >= 2 }} {{ "a" < "b" }} {{ [1, 2] < [1, 3] }} {{ 1 != 2 }} {{ 2 <= 2 }}
{{ 1 < "a" }}
{{ none < 1 }}
{{ 2 in numbers }} {{ 9 in numbers }} {{ 9 not in numbers }} {{ "da" in name }} {{ "name" in person }} {{ "x" in missing }} {{ not 2 in numbers }}
{{ 1 in name }}
{{ 1 in 5 }}
{{ yes and name }} {{ no and name }} {{ no or name }} {{ "" or "x" }} {{ not yes }} {{ not "" }} {{ no or none }} {{ yes and no or name }}
{{ "yes" if yes else "no" }} {{ "a" if no }}| {{ "a" if no else "b" if no else "c" }} {{ ("x" if yes else "y") ~ "z" }}
{{ "x" if missing is defined else "y" }} {{ 1 if n > 2 else 2 }}
{{ 'single' "double" 'joined' }} {{ "esc\n\t\\\"\'|\x41\u00e9\U0001F600" }} {{ 'it''s' }} {{ "\q" }} {{ "\101" }}
{{ [] }} {{ [1,] }} {{ () }} {{ (1,) }} {{ 1, 2 }} {{ {} }} {{ {"a": 1, 'b': [2, (3,)], 4: none} }} {{ ["it's", 'a"b', "a'b\"c", "\n\t\\é\x01"] }}
{{ mixed }} {{ person }} {{ nested }}
{{ 1_000 }} {{ 1.5_0 }} {{ 1e3 }} {{ 0 }} {{ 00 }}
{{ true }} {{ True }} {{ none }} {{ None }} {{ false }} {{ False }}
{# a comment #}a{#- b -#} c {# d
e #} f
a {#- x #} b {# y -#} c
{#--#}x{# #}y
{% if n == 1 %}one{% elif n == 2 %}two{% elif n == 3 %}three{% else %}many{% endif %}
{% if missing %}a{% endif %}{% if none_list %}b{% endif %}{% if person %}c{% endif %}{% if 0 %}d{% endif %}{% if 0.0 %}e{% endif %}{% if "0" %}f{% endif %}
{% for i in numbers %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ i }} {% endfor %}
{% for i in none_list %}x{% else %}empty{% endfor %} {% for i in numbers %}{{ i }}{% else %}empty{% endfor %}
{% for i in numbers if i > 1 %}{{ loop.index }}:{{ i }}/{{ loop.length }} {% endfor %}
{% for i in numbers if i > 9 %}x{% else %}none{% endfor %}
{% for i in numbers %}{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }};{% endfor %}
{% for i in numbers %}{{ loop.cycle("odd", "even") }} {% endfor %}
{% for i in [1, 1, 2, 2, 1] %}{% if loop.changed(i) %}{{ i }}{% endif %}{% endfor %}
{% for c in name %}{{ c }}-{% endfor %}{% for c in "né😀" %}{{ c }}.{% endfor %}
{% for a, b in [(1, 2), [3, 4]] %}{{ a }}{{ b }} {% endfor %}{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}
{% for a, b in [(1, 2, 3)] %}{% endfor %}
{% for i in 5 %}{% endfor %}
{% for i in missing %}x{% else %}none{% endfor %}
{% for i in none %}x{% endfor %}
{% for i in range(5) %}{{ i }}{% endfor %} {{ range(2, 10, 3)|list }} {{ range(5, 0, -2)|list }} {{ range(0)|list }} {{ range(3)[1] }}
{% for i in range(1000000) %}{% endfor %}
{% for i in numbers %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}|{% for i in numbers %}{% if i == 1 %}{% break %}{% endif %}{{ i }}{% endfor %}
{% for i in numbers %}{% for j in numbers %}{% if j == 2 %}{% break %}{% endif %}{{ i }}{{ j }} {% endfor %}{{ loop.index }} {% endfor %}
{% for node in tree recursive %}{{ node.v }}@{{ loop.depth }}{% if node.c %}[{{ loop(node.c) }}]{% endif %}{% endfor %}
{% for i in numbers %}{{ loop(numbers) }}{% endfor %}
{% set a = 1 %}{% for i in numbers %}{% set a = a + i %}{{ a }} {% endfor %}{{ a }}
{% set a = 1 %}{% if yes %}{% set a = 2 %}{% endif %}{{ a }}
{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set (c, d) = [3, 4] %}{{ c }}{{ d }}
{% set ns = namespace(total=0, seen=[]) %}{% for i in numbers %}{% set ns.total = ns.total + i %}{% endfor %}{{ ns.total }} {{ ns.missing }}|
{% set ns = namespace({"a": 1}, b=2) %}{{ ns.a }}{{ ns.b }}{% set ns.c = 3 %}{{ ns.c }}
{% set person.name = "x" %}
{% set ns = namespace() %}{% set ns._x = 1 %}
{% set t %}block {{ n }}{% endset %}[{{ t }}]{% set u | upper | trim %} shout {% endset %}[{{ u }}]
{% set t %}{% set inner = 5 %}{{ inner }}{% endset %}{{ t }}{{ inner }}|
{% with a = 1, b = n %}{{ a }}{{ b }}{% set c = 9 %}{% endwith %}{{ a }}{{ c }}|
{% with a = 1 %}{% with a = 2, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}{% endwith %}
{% macro greet(who, greeting="Hello", mark=greeting) %}{{ greeting }}, {{ who }}{{ mark }}{% endmacro %}{{ greet("Ada") }} {{ greet("Bob", "Hi") }} {{ greet(who="Cy", mark="!") }} {{ greet() }}
{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}
{% macro f(a) %}{{ a }}{% endmacro %}{{ f(b=2) }}
{% macro f(a) %}{{ a }}:{{ varargs }}:{{ kwargs }}{% endmacro %}{{ f(1, 2, 3, k=4) }} {{ f() }}
{% macro f(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ f(*[1, 2]) }}{{ f(**{"a": 3, "b": 4}) }}{{ f(5, *[6]) }}
{% macro wrap(tag) %}<{{ tag }}>{{ caller() }}</{{ tag }}>{% endmacro %}{% call wrap("b") %}inside {{ n }}{% endcall %}
{% macro each(items) %}{% for i in items %}{{ caller(i, loop.index) }};{% endfor %}{% endmacro %}{% call(item, at) each(numbers) %}{{ at }}={{ item }}{% endcall %}
{% macro fact(k) %}{% if k <= 1 %}1{% else %}{{ k * (fact(k - 1)|int) }}{% endif %}{% endmacro %}{{ fact(6) }}
{% macro deep(k) %}{{ deep(k + 1) }}{% endmacro %}{{ deep(0) }}
{% set g = "global" %}{% macro show() %}{{ g }}{% endmacro %}{% set g = "changed" %}{{ show() }} {{ show.name }}
{% macro m() %}{% set x = 5 %}{{ x }}{% endmacro %}{{ m() }}{{ x }}
{% filter upper %}shout {{ name }}{% endfilter %} {% filter trim | replace("a", "b") %} banana {% endfilter %}
{% generation %}inside {% set z = 1 %}{{ name }}{% endgeneration %}{{ z }}|
{% raw %}{{ not }} {% this %}{% endraw %} {%- raw -%}  x  {%- endraw -%}  y
a {% raw %} b {% endraw %} c
{{ name|upper }} {{ name|lower }} {{ text|trim }}| {{ "xxaxx"|trim("x") }} {{ "hello wORLD"|capitalize }} {{ "hello wORLD-it's (ok)"|title }} {{ unicode|upper }} {{ unicode|lower }} {{ unicode|length }}
{{ numbers|length }} {{ numbers|count }} {{ person|length }} {{ missing|length }} {{ ""|length }}
{{ 5|length }}
{{ numbers|first }} {{ numbers|last }} {{ none_list|first }}| {{ name|first }} {{ name|last }}
{{ numbers|join }} {{ numbers|join(", ") }} {{ people|join(", ", attribute="name") }} {{ mixed|join("/") }} {{ name|join(".") }}
{{ numbers|sort }} {{ numbers|sort(reverse=true) }} {{ words|sort }} {{ words|sort(case_sensitive=true) }} {{ people|sort(attribute="age")|map(attribute="name")|list }} {{ people|sort(attribute="name")|map(attribute="name")|join("-") }}
{{ numbers|min }} {{ numbers|max }} {{ numbers|sum }} {{ people|sum(attribute="age") }} {{ words|min }} {{ words|max }} {{ none_list|max }}| {{ people|max(attribute="age") }} {{ [1.5, 2]|sum(start=10) }}
{{ words|unique|list }} {{ words|unique(case_sensitive=true)|list }} {{ people|unique(attribute="age")|map(attribute="name")|list }}
{{ numbers|reverse|list }} {{ name|reverse }} {{ numbers|list }} {{ name|list }} {{ person|list }}
{{ numbers|map("string")|join("+") }} {{ words|map("upper")|list }} {{ people|map(attribute="name")|list }} {{ people|map(attribute="zz", default="?")|list }} {{ ["a b"]|map("replace", " ", "_")|first }}
{{ numbers|select("odd")|list }} {{ numbers|reject("odd")|list }} {{ numbers|select("greaterthan", 1)|list }} {{ mixed|select|list }} {{ mixed|reject|list }} {{ numbers|select("in", [1, 2])|list }}
{{ people|selectattr("age", "equalto", 36)|map(attribute="name")|list }} {{ people|rejectattr("age", "lt", 30)|map(attribute="name")|list }} {{ people|selectattr("name")|list|length }} {{ people|selectattr("zz", "defined")|list }} {{ people|selectattr("age", ">", 30)|list|length }}
{{ none|selectattr("a")|list }} {{ none|map("upper")|list }}
{{ people|groupby("age")|length }} {% for age, group in people|groupby("age") %}{{ age }}:{{ group|map(attribute="name")|join(",") }} {% endfor %}{{ (people|groupby("age"))[0].grouper }}
{{ range(7)|batch(3)|list }} {{ range(7)|batch(3, "-")|list }} {{ range(7)|slice(3)|list }} {{ range(7)|slice(3, "-")|list }}
{{ missing|default("d") }} {{ ""|default("d") }} {{ ""|default("d", true) }} {{ none|default("d") }} {{ none|d("d", boolean=true) }} {{ name|default("d") }}
{{ nested|dictsort }} {{ nested|dictsort(case_sensitive=true) }} {{ {"b": 1, "a": 2}|dictsort(by="value") }} {{ {"b": 1, "a": 2}|dictsort(reverse=true) }} {% for k, v in person|items %}{{ k }}{% endfor %}
{{ person|tojson }} {{ mixed|tojson }} {{ unicode|tojson }} {{ unicode|tojson(ensure_ascii=true) }} {{ html|tojson }} {{ "a\"b\\c\n\r\t\x08\x0c\x01\x7f"|tojson }} {{ 1.0|tojson }} {{ big|tojson }} {{ none|tojson }} {{ 1e16|tojson }}
{{ nested|tojson(indent=2) }} {{ []|tojson(indent=2) }} {{ {}|tojson(indent=4) }} {{ [[], {}, [1]]|tojson(indent=1) }} {{ nested|tojson(indent="--") }} {{ nested|tojson(separators=(",", ":")) }} {{ {"b": 1, "a": {"d": 1, "c": 2}}|tojson(sort_keys=true) }} {{ {1: 2, none: 3, true: 4, 1.5: 5}|tojson }} {{ (1, 2)|tojson }}
{{ missing|tojson }}
{{ range(3)|tojson }}
{{ numbers|map("string")|tojson }}
{{ "a-b-c"|replace("-", "+") }} {{ "a-b-c"|replace("-", "+", 1) }} {{ "abc"|replace("", "-") }} {{ name|replace("zz", "y") }}
{{ "42"|int }} {{ "4x"|int }} {{ "4x"|int(7) }} {{ 3.9|int }} {{ -3.9|int }} {{ " 42 "|int }} {{ "3.7"|int }} {{ "ff"|int(base=16) }} {{ "0x1F"|int(0, 16) }} {{ none|int }} {{ true|int }} {{ "1_0"|int }}
{{ "3.5"|float }} {{ "x"|float }} {{ "x"|float(1.5) }} {{ 3|float }} {{ "1e3"|float }}
{{ -5|abs }} {{ -2.5|abs }} {{ 2.567|round(2) }} {{ 2.5|round }} {{ 3.5|round }} {{ 2.1|round(0, "ceil") }} {{ 2.9|round(method="floor") }} {{ 42|round }} {{ 1234.5|round(-2) }}
{{ 5|string ~ "x" }} {{ none|string }} {{ [1]|string }} {{ 1.0|string }}
{{ lines|indent }}|{{ lines|indent(2) }}|{{ lines|indent(2, true) }}|{{ "a\n\nb"|indent(2, blank=true) }}|{{ "a\nb"|indent(width="> ") }}
{{ "The quick brown fox jumps"|truncate(15) }} {{ "The quick brown fox jumps"|truncate(15, true) }} {{ "The quick brown fox jumps"|truncate(15, false, "!", 0) }} {{ "short"|truncate(10) }}
{{ "a b  c-d"|wordcount }} {{ "%s is %d"|format(name, n) }} {{ "a b&c/é"|urlencode }}
{{ html|e }} {{ html|escape }} {{ html|safe }} {{ html|forceescape }} {{ ("<"|safe) + "<" }} {{ "<" ~ ("<"|safe) }} {{ ("<a>"|safe).upper() + "<" }} {{ ("<"|e)|e }}
{{ person|attr("name") }}|{{ name|attr("upper") is callable }}
{{ name|nosuchfilter }}
{% if no %}{{ name|nosuchfilter }}{% endif %}fine
{{ name is nosuchtest }}
{{ name is defined }} {{ missing is defined }} {{ missing is undefined }} {{ none is none }} {{ missing is none }} {{ name is not none }} {{ person.zz is defined }}
{{ name is string }} {{ n is string }} {{ n is number }} {{ x is number }} {{ yes is number }} {{ n is integer }} {{ yes is integer }} {{ x is integer }} {{ x is float }} {{ n is float }} {{ yes is boolean }} {{ n is boolean }} {{ yes is true }} {{ no is false }} {{ n is true }}
{{ person is mapping }} {{ numbers is mapping }} {{ numbers is sequence }} {{ name is sequence }} {{ person is sequence }} {{ n is sequence }} {{ numbers is iterable }} {{ n is iterable }} {{ name is iterable }} {{ missing is iterable }} {{ missing is sequence }}
{{ n is odd }} {{ n is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ n is eq 3 }} {{ n is ne 3 }} {{ n is lt 4 }} {{ n is ge(3) }} {{ n is in numbers }} {{ n is not in [1] }} {{ none is sameas none }} {{ "a" is lower }} {{ "A" is upper }} {{ "upper" is filter }} {{ "zz" is filter }} {{ "odd" is test }} {{ range is callable }}
{{ n is eq 3 and yes }} {{ not n is odd }} {{ n is odd or no }} {{ 1 + 1 is eq 2 }} {{ (1 + 1) is eq 2 }} {{ "a" ~ "b" is string }}
{{ text.strip() }}|{{ text.lstrip() }}|{{ text.rstrip() }}|{{ "xxaxx".strip("x") }}|{{ "abc".lstrip("ba") }}|{{ "path/to/".rstrip("/") }}
{{ "a,b,,c".split(",") }} {{ "a b  c ".split() }} {{ " a b  c ".split(none, 1) }} {{ "a,b,c".split(",", 1) }} {{ "a,b,c".rsplit(",", 1) }} {{ " a b c ".rsplit(none, 1) }} {{ "".split() }} {{ "".split(",") }} {{ "a,b"["split"](",") }} {{ "a b".split(maxsplit=1) }} {{ "a\u00a0b".split() }}
{{ "abc".split("") }}
{{ "</think>a</think>b".split("</think>")[-1] }} {{ "<think>x</think>y".split("</think>")[0].split("<think>")[-1] }}
{{ lines.splitlines() }} {{ lines.splitlines(true) }} {{ "a\x0bb\u2028c\x1cd".splitlines() }}
{{ name.startswith("A") }} {{ name.endswith("da") }} {{ name.startswith(("x", "A")) }} {{ name.startswith("d", 1) }} {{ name.endswith("d", 0, 2) }} {{ name.startswith("") }}
{{ name.upper() }} {{ name.lower() }} {{ "hELLO wORLD".capitalize() }} {{ "they're bill's".title() }} {{ "aBc".swapcase() }} {{ "ßx".upper() }}
{{ "a-b-a".replace("a", "x") }} {{ "a-b-a".replace("a", "x", 1) }} {{ "banana".find("na") }} {{ "banana".rfind("na") }} {{ "banana".find("zz") }} {{ "banana".count("an") }} {{ "é😀x".find("x") }} {{ "banana".index("n") }} {{ "aaa".count("") }} {{ "banana".find("na", 3) }}
{{ "banana".index("zz") }}
{{ ", ".join(["a", "b"]) }} {{ "-".join("abc") }}
{{ ", ".join([1]) }}
{{ "{} {}".format(1, "a") }} {{ "{0}{1}{0}".format("a", "b") }} {{ "{name}!".format(name="Ada") }} {{ "{{}}".format() }} {{ "{:>5}|{:<5}|{:^5}|{:05d}|{:.2f}|{:,}|{:x}|{:*^7}".format("a", "b", "c", 42, 3.14159, 1234567, 255, "mid") }} {{ "{!r}".format("a") }} {{ "{:%}".format(0.25) }}
{{ "%s %s" % ("a", 1) }} {{ "%05.2f|%5d|%-5d|%x" % (3.14159, 42, 42, 255) }} {{ "%(a)s" % {"a": 1} }} {{ "100%%" % () }} {{ "%s" % name }} {{ "%r" % "x" }}
{{ "%s %s" % "a" }}
{{ "abc".ljust(5, ".") }} {{ "abc".rjust(5) }} {{ "abc".center(6, "*") }} {{ "42".zfill(5) }} {{ "-42".zfill(5) }} {{ "abc".partition("b") }} {{ "abcbd".rpartition("b") }} {{ "abc".partition("z") }} {{ "prefix-x".removeprefix("prefix-") }} {{ "x.txt".removesuffix(".txt") }}
{{ "123".isdigit() }} {{ "12a".isdigit() }} {{ "abc".isalpha() }} {{ "a1".isalnum() }} {{ " ".isspace() }} {{ "".isspace() }} {{ "ABC".isupper() }} {{ "abc".islower() }} {{ "½".isnumeric() }}
{{ numbers.index(1) }} {{ numbers.count(1) }} {{ (1, 2, 1).count(1) }}
{{ numbers.append(4) }}
{{ person.update({"a": 1}) }}
{{ person.pop("name") }}
{% set _ = numbers.append(1) %}
{{ dict(a=1, b=2) }} {{ dict([("x", 1)]) }} {{ dict(person, name="Eve").name }} {{ {"a": 1}.items()|list }} {{ {"a": 1}.copy() }}
{% set c = cycler("a", "b") %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{% set j = joiner("; ") %}{{ j() }}x{{ j() }}y{{ j() }}z
{{ raise_exception("a message of the template's own") }}
{{ name.__class__ }}|{{ name._private }}
{% include "x" %}
{% import "x" as y %}
{% extends "x" %}
{% do x %}
{% unknown %}
{% endfor %}
{% for i in numbers %}
{% if yes %}
{{ name
{{ name }
{% if yes
{{ "unclosed }}
{{ (1 }}
{{ 1 ) }}
{{ }}
{{ 1 2 }}
{{ a b }}
{{ "a" is is b }}
{{ n is odd is even }}
{% set true = 1 %}
{% set 1 = 1 %}
{% macro f(a=1, b) %}{% endmacro %}
{% break %}
{{ f(a=1, 2) }}
{{ @ }}
{# unclosed
{% raw %} unclosed
{{ {"a": {"b": "}}"}}["a"]["b"] }}
{{ "%}" }}{% if "%}" == "%}" %}y{% endif %}{{ '}}' }}
{{ {'a': 1}}}
{{ [1, 2,
   3] }}{{ n
}}
{{ n -}}   x {{- n }} y {{ n -}}
   z
  {%- if yes -%}   a   {%- endif -%}   b
  {%+ if yes %} a {%+ endif %} b
  {% if yes +%}
 a
{% endif %}
b
x
    {% if yes %}
  y
    {% endif %}
z
    {{ n }}
    {# c #}
  w
{% for i in numbers %}
  {{ i }}
{% endfor %}
end
a	{% if yes %}b{% endif %}	c
""".strip("\n")


def snippets():
    """One snippet a line, but that lines after an unfinished tag or of white-space cases stay together."""
    lines = SNIPPETS.split("\n")
    joined, groups = {"{# a comment #}a": 2, "{{ [1, 2,": 3, "{{ n -}}   x": 2, "  {% if yes +%}": 4, "x": 9, "{% for i in numbers %}": 0}, []
    at = 0
    while at < len(lines):
        count = next((k for start, k in joined.items() if k and lines[at].startswith(start) and (start != "x" or lines[at] == "x")), 1)
        if lines[at] == "{% for i in numbers %}" and at + 1 < len(lines) and lines[at + 1].startswith("  {{ i"):
            count = 4
        groups.append("\n".join(lines[at:at + count]))
        at += count
    return groups + ["a\n", "a\n\n", "\n", "", "a\r\nb\r{{ n }}\r\n", "{{ 'a\r\nb' }}", "{% if yes %}\n\n a\n{% endif %}\n\n", "\ufeff{{ n }}",
                     "{{ name }}\u00a0{%- if yes %} x{% endif %}", "{{ '" + "x" * 300 + "' }}", "{{ " + "(" * 60 + "n" + ")" * 60 + " }}"]
