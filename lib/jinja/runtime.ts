// SPDX-License-Identifier: Apache-2.0
/** What compiled templates run on: variables in slots, names of the context, the text written so far. */
import type { Value } from "./values.ts";

/** State of one rendering. */
export interface Run {
  /** Text of the buffer that is written to: the output, or the body of a macro, a set block, a filter block. */
  out: string;
  /** Buffers around that one. */
  outerBuffers: string[];
  /** Line of the statement that runs. */
  line: number;
  /** Start and end of what stands in `{% generation %}`, when asked for. */
  readonly generations: [start: number, end: number][];
}

/** Names that are no variable of a frame: what the template has set at its top, what it was given, globals. */
export interface Context {
  readonly exported: Map<string, Value>;
  resolve(name: string): Value | undefined;
}

/** The variables of one call: of the template, a block, a macro, or a recursive loop. undefined: no value yet. */
export interface Frame {
  readonly slots: (Value | undefined)[];
  readonly parent: Frame | null;
  readonly run: Run;
  readonly context: Context;
}

/** How a statement ended. */
export const NORMAL = 0;
export const BREAK = 1;
export const CONTINUE = 2;
export type Signal = typeof NORMAL | typeof BREAK | typeof CONTINUE;

export type Evaluate = (frame: Frame) => Value;
export type Execute = (frame: Frame) => Signal;

/** Writes into a buffer of its own, and returns what was written and how the statements ended. */
export function capture(frame: Frame, body: Execute): { text: string; signal: Signal } {
  const { run } = frame;
  run.outerBuffers.push(run.out);
  run.out = "";
  const signal = body(frame);
  const text = run.out;
  run.out = run.outerBuffers.pop() as string;
  return { text, signal };
}
