// SPDX-License-Identifier: Apache-2.0
/** What a template can fail with. Messages are those of Python and Jinja2, so that they can be looked up. */

/** The Python exceptions that a template meets, and two of our own: a limit reached, and what is not supported. */
export type JinjaErrorKind =
  | "TemplateSyntaxError"
  | "TemplateAssertionError"
  | "TemplateError"
  | "TemplateRuntimeError"
  | "UndefinedError"
  | "SecurityError"
  | "FilterArgumentError"
  | "TypeError"
  | "ValueError"
  | "IndexError"
  | "KeyError"
  | "AttributeError"
  | "NameError"
  | "AssertionError"
  | "RuntimeError"
  | "OverflowError"
  | "ZeroDivisionError"
  | "LimitError"
  | "UnsupportedError";

/** A template that cannot be compiled or rendered. */
export class JinjaError extends Error {
  override readonly name = "JinjaError";
  /** The Python exception, or `LimitError`, or `UnsupportedError`. `TemplateError` is what `raise_exception` throws. */
  readonly kind: JinjaErrorKind;
  /** Line of the template, from 1; null when it is not known. */
  line: number | null;

  constructor(kind: JinjaErrorKind, message: string, line: number | null = null) {
    super(message);
    this.kind = kind;
    this.line = line;
  }
}

export function typeError(message: string): JinjaError {
  return new JinjaError("TypeError", message);
}

export function valueError(message: string): JinjaError {
  return new JinjaError("ValueError", message);
}

/** For what Python would answer, but with a text that differs from run to run, or that nobody has needed yet. */
export function unsupported(message: string): JinjaError {
  return new JinjaError("UnsupportedError", message);
}
