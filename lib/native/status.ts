// SPDX-License-Identifier: Apache-2.0
/** Statuses of native calls to errors, in one place. */
import { NativeError } from "../core/errors.ts";
import { MEFT_BUSY, MEFT_INTERNAL, MEFT_INVALID, MEFT_OK } from "./symbols.ts";

/**
 * Throws unless `status` is OK.
 *
 * @param text Reads the context's error text; not called for BUSY, whose text belongs to the call in flight
 * @throws {NativeError} With the status as `code` and the C function as `op`
 */
export function throwUnlessOk(op: string, status: number, text: () => string): void {
  if (status === MEFT_OK) return;
  const message = status === MEFT_BUSY
    ? `${op}: this context has a call in flight; await it first, or use a second context`
    : text() || `${op}: failed with status ${status}`;
  throw new NativeError(op, status, message);
}

/** Whether a call failed for what it was asked or for a defect of the library: neither the machine nor its files are at fault. */
export function isDefect({ code }: NativeError): boolean {
  return [MEFT_INVALID, MEFT_BUSY, MEFT_INTERNAL].includes(code);
}
