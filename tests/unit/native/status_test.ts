// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { NativeError } from "../../../lib/core/errors.ts";
import { isDefect, throwUnlessOk } from "../../../lib/native/status.ts";
import * as constants from "../../../lib/native/symbols.ts";

Deno.test("throwUnlessOk() throws for every status but OK, with the library's words, or its own where those are of another call", () => {
  throwUnlessOk("add", constants.MEFT_OK, () => assert.fail("nothing failed"));
  const thrown = (status: number, text: () => string): NativeError => {
    try {
      throwUnlessOk("add", status, text);
    } catch (error) {
      assert.ok(error instanceof NativeError);
      return error;
    }
    return assert.fail(`${status} is an error`);
  };
  for (
    const status of [constants.MEFT_INVALID, constants.MEFT_OUT_OF_MEMORY, constants.MEFT_INTERNAL, 12345]
  ) {
    const error = thrown(status, () => "add: x is null");
    assert.deepEqual([error.code, error.op, error.message], [status, "add", "add: x is null"]);
  }
  assert.equal(thrown(constants.MEFT_IO, () => "").message, `add: failed with status ${constants.MEFT_IO}`);
  const busy = thrown(constants.MEFT_BUSY, () => assert.fail("the text belongs to the call in flight"));
  assert.match(busy.message, /^add: this context has a call in flight; await it first/);
});

Deno.test("isDefect() is true for what no machine and no file can be blamed for", () => {
  const {
    MEFT_INVALID,
    MEFT_BUSY,
    MEFT_INTERNAL,
    MEFT_OUT_OF_MEMORY,
    MEFT_UNSUPPORTED,
    MEFT_IO,
    MEFT_DEVICE,
  } = constants;
  const is = (code: number) => isDefect(new NativeError("add", code, "text"));
  assert.deepEqual([MEFT_INVALID, MEFT_BUSY, MEFT_INTERNAL].map(is), [true, true, true]);
  assert.deepEqual([MEFT_OUT_OF_MEMORY, MEFT_UNSUPPORTED, MEFT_IO, MEFT_DEVICE].map(is), [
    false,
    false,
    false,
    false,
  ]);
});
