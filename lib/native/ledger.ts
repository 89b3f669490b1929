// SPDX-License-Identifier: Apache-2.0
/** The byte ledger: who holds how much host memory, by class. Pure bookkeeping, no allocation of its own. */

/** Classes of memory that reports show. */
export type MemoryClass =
  | "weights"
  | "parameters"
  | "optimizer"
  | "gradients"
  | "activations"
  | "logits"
  | "cache"
  | "pinned"
  | "workspace";

/** Bytes held now and at most, by class. */
export interface Ledger {
  readonly held: Map<MemoryClass, number>;
  readonly peak: Map<MemoryClass, number>;
}

/** A ledger with nothing in it. */
export function createLedger(): Ledger {
  return { held: new Map(), peak: new Map() };
}

/**
 * Adds bytes to (or, when negative, takes them from) a class.
 *
 * @mutates ledger
 * @throws {RangeError} When more is given back than was held
 */
export function account(ledger: Ledger, memoryClass: MemoryClass, bytes: number): void {
  const held = (ledger.held.get(memoryClass) ?? 0) + bytes;
  if (held < 0) {
    throw new RangeError(`Cannot give back ${-bytes} bytes of ${memoryClass}: only ${held - bytes} are held`);
  }
  ledger.held.set(memoryClass, held);
  ledger.peak.set(memoryClass, Math.max(ledger.peak.get(memoryClass) ?? 0, held));
}

/** Bytes held now, all classes together. */
export function heldBytes(ledger: Ledger): number {
  let bytes = 0;
  for (const held of ledger.held.values()) bytes += held;
  return bytes;
}

/** Lets the peaks start anew from what is held now. @mutates ledger */
export function resetPeaks(ledger: Ledger): void {
  for (const [memoryClass, held] of ledger.held) ledger.peak.set(memoryClass, held);
}
