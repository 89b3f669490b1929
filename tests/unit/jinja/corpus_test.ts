// SPDX-License-Identifier: Apache-2.0
/** Thousands of random templates against what Python's Jinja2 made of them (scripts/fixtures/make_jinja.py). */
import assert from "node:assert/strict";
import { JinjaError } from "../../../lib/jinja/errors.ts";
import { parsePythonJson, type PythonJson } from "../../../lib/jinja/json_loads.ts";
import { compileTemplate } from "../../../lib/jinja/template.ts";

type Case = readonly [template: string, text: string | null, error?: string];

const FILE = new URL("../../fixtures/jinja/templates.json", import.meta.url);

/** Filters and methods that are refused by name. */
const REFUSED =
  /\b(random|urlize|pprint|wordwrap)\b|bytes|safe|address|lies in memory|sets, which|sameas|same is not known|complex/;

Deno.test("templates render as Jinja2 renders them, and fail with the same exceptions", async () => {
  const file = parsePythonJson(await Deno.readTextFile(FILE)) as { context: PythonJson; cases: unknown };
  const context = file.context as Readonly<Record<string, unknown>>;
  let [refused, failed, alike] = [0, 0, 0];
  for (const [template, text, kind] of file.cases as readonly Case[]) {
    try {
      const rendered = compileTemplate(template).render(context);
      assert.equal(
        rendered,
        text,
        `the text of ${JSON.stringify(template)}, which raises ${kind ?? "nothing"}`,
      );
    } catch (error) {
      if (!(error instanceof JinjaError)) throw error;
      if (error.kind === "UnsupportedError") {
        assert.match(error.message, REFUSED, template);
        refused++;
      } else {
        const message = `${error.kind} of ${JSON.stringify(template)}: ${error.message}`;
        assert.equal(text, null, message);
        failed++;
        if (error.kind === kind) alike++;
      }
    }
  }
  const { length } = file.cases as readonly Case[];
  assert.ok(refused < length * 0.02, `${refused} of ${length} are refused`);
  assert.ok(failed > length * 0.2 && failed < length * 0.45, `${failed} of ${length} fail`);
  assert.ok(alike > failed * 0.98, `${alike} of ${failed} failures are the exception that Python raises`);
});
