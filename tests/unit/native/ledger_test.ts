// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { account, createLedger, heldBytes, resetPeaks } from "../../../lib/native/ledger.ts";

Deno.test("account() keeps what each class holds now and held at most", () => {
  const ledger = createLedger();
  account(ledger, "weights", 100);
  account(ledger, "cache", 7);
  account(ledger, "weights", -60);
  account(ledger, "weights", 30);
  assert.deepEqual([...ledger.held], [["weights", 70], ["cache", 7]]);
  assert.deepEqual([...ledger.peak], [["weights", 100], ["cache", 7]]);
  assert.equal(heldBytes(ledger), 77);
  resetPeaks(ledger);
  assert.deepEqual([...ledger.peak], [["weights", 70], ["cache", 7]]);
  account(ledger, "weights", -70);
  assert.equal(heldBytes(ledger), 7);
  assert.equal(ledger.peak.get("weights"), 70);
});

Deno.test("account() refuses to give back more than a class holds, names it, and leaves the ledger as it was", () => {
  const ledger = createLedger();
  account(ledger, "weights", 10);
  account(ledger, "gradients", 100);
  assert.throws(() => account(ledger, "weights", -11), {
    name: "RangeError",
    message: "Cannot give back 11 bytes of weights: only 10 are held",
  });
  assert.throws(() => account(ledger, "optimizer", -1), /1 bytes of optimizer: only 0 are held/);
  assert.equal(ledger.held.get("weights"), 10);
  assert.equal(heldBytes(ledger), 110);
  account(ledger, "weights", -10);
  assert.equal(ledger.held.get("weights"), 0);
});
