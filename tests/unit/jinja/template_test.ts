// SPDX-License-Identifier: Apache-2.0
/** Templates render as Python's Jinja2 renders them, where JavaScript's libraries did not. */
import assert from "node:assert/strict";
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
