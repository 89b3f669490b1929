// SPDX-License-Identifier: Apache-2.0
/** Templates render as Python's Jinja2 renders them, where JavaScript's libraries did not. */
import assert from "node:assert/strict";
import { DEFAULT_LIMITS } from "../../../lib/jinja/meter.ts";
import { compileTemplate } from "../../../lib/jinja/template.ts";

const MESSAGES = [{ role: "user", content: "\t x\ny \n" }, { role: "assistant", content: "  A-b\n" }];

function render(template: string, context: Readonly<Record<string, unknown>> = {}): string {
  return compileTemplate(template).render({ messages: MESSAGES, ...context });
}

for (
  const [template, expected] of [
    ["{{ messages[0].content.lstrip('\\n') }}|", "\t x\ny \n|"],
    ["{{ messages[0].content.rstrip('\\n') }}|", "\t x\ny |"],
    ["{{ messages[0].content.strip('\\n') }}|", "\t x\ny |"],
    [
      "{% for m in messages %}{% if loop.first %}[{{ m.role }}]{% continue %}{% endif %}<{{ m.role }}>{% endfor %}",
      "[user]<assistant>",
    ],
    ["line1\r\n{% if true %}\r\nx\r\n{% endif %}\r\ny", "line1\nx\ny"],
    ["{{ true }} {{ none }} {{ [1, 'a', {'b': false}] }}", "True None [1, 'a', {'b': False}]"],
    ["{{ -7%3 }} {{ -7//3 }} {{ 7/2 }} {{ -2**2 }} {{ 2**3**2 }}", "2 -3 3.5 4 64"],
    ["{{ 'abc DEF'|capitalize }} {{ 'abc'.find('c') }} {{ '%05.1f|%s' % (2.25, 'x') }}", "Abc def 2 002.2|x"],
    ["{{ 6 is divisibleby 3 }} {{ 1 < 2 < 2 }} {{ {'2': 1, '1': 2} }}", "True False {'2': 1, '1': 2}"],
    ["{% for x in [1, 0, 2]|select %}{{ loop.last }}{{ loop.length }} {% endfor %}", "False2 True2 "],
    [
      "{{ 25|round(-1) }} {{ 35|round(-1) }} {{ 26|round(-1) }} {{ -25|round(-1) }} {{ -35|round(-1) }}",
      "20 40 30 -20 -40",
    ],
    ["{{ range(100000)|length }}", "100000"],
    ["{{ '😀a'|length }} {{ '😀a'[1] }} {{ '\\x1c a\\x85'.strip() }}", "2 a a"],
  ] as const
) {
  Deno.test(`compileTemplate() renders ${template.slice(0, 60)}`, () =>
    assert.equal(render(template), expected));
}

Deno.test("JinjaTemplate.render() stops a list that doubles before it fills the memory", () => {
  const doubling =
    "{% set ns = namespace(l=[1]) %}{% for i in range(40) %}{% set ns.l = ns.l + ns.l %}{% endfor %}";
  assert.throws(() => compileTemplate(doubling).render({}), {
    name: "JinjaError",
    message: /makes a list of 8388608 items, more than 4194304, the limit of one list/,
  });
});

Deno.test("a template may look at all later messages for each of 10,000, and costs are counted for what they are", () => {
  const messages = Array.from(
    { length: 10_000 },
    (_, i) => ({ role: i % 4 === 0 ? "tool" : "user", content: "x" }),
  );
  const later = "{% for m in messages %}{% if m.role == 'tool' %}{% for n in messages[loop.index:] %}" +
    "{% if n.role == 'tool' and 'tool_calls' in n %}x{% endif %}{% endfor %}{% endif %}{% endfor %}done";
  assert.equal(render(later, { messages }), "done");
  const half = "'x' * 100000000";
  const low = { ...DEFAULT_LIMITS, steps: 1_000_000 };
  for (
    const template of [
      `{% set a = ${half} %}{% for i in range(100000) %}{% if a ~ 'y' == a ~ 'z' %}{% endif %}{% endfor %}`,
      `{% set a = ${half} %}{% for i in range(100000) %}{% if a ~ 'y' < a ~ 'z' %}{% endif %}{% endfor %}`,
      `{% set a = ${half} %}{% for i in range(100000) %}{% set d = {a ~ i: 1} %}{% endfor %}`,
      `{% set a = ${half} %}{% for i in range(100000) %}{% set x = a.startswith(a ~ '') %}{% endfor %}`,
      `{{ 'x'.strip(${half}) }}`,
      "{% set a = '😀' * 1000000 %}{% for i in range(100000) %}{% set x = a[5] %}{% endfor %}",
      "{% set ns = namespace(s=[1], t=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}" +
      "{% set ns.t = [ns.t, ns.t] %}{% endfor %}{{ ns.s == ns.t }}",
    ]
  ) assert.throws(() => compileTemplate(template).render({}, low), /the limit of one rendering/, template);
  assert.equal(render("{{ ('%.3000f' % 0.1)|length }}"), "3002");
});

Deno.test("a loop without items runs over what is called recursive, as in Jinja2", () => {
  assert.equal(render("{% for m in recursive %}{{ m }}{% endfor %}", { recursive: [1, 2] }), "12");
});
