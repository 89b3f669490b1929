// SPDX-License-Identifier: Apache-2.0
/** A sample of hostile inputs for every reader, and what is taken for a fault. */
import assert from "node:assert/strict";
import { MachineError, UserError } from "../../lib/core/errors.ts";
import { randomStream } from "../../lib/core/rng.ts";
import { withFolder } from "../fixtures/folder.ts";
import { FUZZERS } from "../../scripts/faults/fuzz/all.ts";
import { faultOf } from "../../scripts/faults/fuzz/fuzzer.ts";
import { runFuzzer } from "../../scripts/faults/fuzz/run.ts";
import { inParallel } from "../../scripts/faults/pool.ts";
import { formatReports } from "../../scripts/faults/report.ts";

const INPUTS = 100;

Deno.test(`${INPUTS} hostile inputs for every reader are used, or refused with one error each`, async () => {
  const options = { seconds: 60, seed: 20261130, most: INPUTS };
  const reports = await inParallel(FUZZERS, ({ name }) => runFuzzer(name, options));
  console.log(formatReports(reports));
  assert.deepEqual(reports.flatMap(({ failures }) => failures), []);
  for (const { name, counts: { inputs, refused = 0 } } of reports) {
    assert.equal(inputs, INPUTS, name);
    assert(refused > 0, `${name}: nothing was refused`);
  }
});

/** Inputs that readers once fell over, or were written to: a folder for each fuzzer that is given them. */
const CORPUS = new URL("../fixtures/faults/", import.meta.url);

/** Far longer than any of them takes. */
const LONGEST_MS = 30_000;

Deno.test("what readers once fell over is used, or refused with one error each", () =>
  withFolder(async (folder) => {
    for (const { name: reader } of Deno.readDirSync(CORPUS)) {
      const fuzzer = FUZZERS.find(({ name }) => name === reader);
      assert(fuzzer, reader);
      for (const { name } of Deno.readDirSync(new URL(reader, CORPUS))) {
        const input = Deno.readFileSync(new URL(`${reader}/${name}`, CORPUS));
        const startMs = performance.now();
        let fault: string | null = null;
        try {
          await fuzzer.use(input, folder);
        } catch (error) {
          fault = faultOf(error);
        }
        assert.equal(fault, null, `${reader}/${name}`);
        assert(performance.now() - startMs < LONGEST_MS, `${reader}/${name}`);
      }
    }
  }));

Deno.test("inputs are the same for the same seed and number, and others for others", () => {
  for (const { name, make } of FUZZERS) {
    const inputs = [0, 1, 2, 3].map((i) => make(randomStream(7, i)).toBase64());
    assert.deepEqual([0, 1, 2, 3].map((i) => make(randomStream(7, i)).toBase64()), inputs, name);
    assert(new Set(inputs).size > 1, name);
  }
});

Deno.test("faultOf() takes errors for people for refusals, and all others for faults", () => {
  assert.equal(faultOf(new UserError("x")), null);
  assert.equal(faultOf(new MachineError("x")), null);
  assert.match(faultOf(new TypeError("x is undefined")) ?? "", /^TypeError: x is undefined/);
  assert.match(faultOf(new UserError("x".repeat(100_001))) ?? "", /^a message of 100001 characters/);
  assert.match(faultOf("text") ?? "", /^threw text/);
});
