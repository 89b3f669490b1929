// SPDX-License-Identifier: Apache-2.0
/** What a data file gives, for people to look at before they train on it: tokens, and which of them are targets. */
import { formatTerminalText, type Styled, type TerminalText, visibleLine } from "../core/visible_text.ts";
import { type Dataset, exampleCount, type ExampleLabels, exampleLength, examplePlace } from "./dataset.ts";
import { createDetokenizer, finishText, pushId } from "./detokenizer.ts";
import { formatPlace, type RowPlace } from "./rows.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** One token of a preview. */
export interface PreviewToken {
  readonly id: number;
  /** Its text, special tokens by name; a character of several tokens stands at the last of them. */
  readonly text: string;
  readonly loss: boolean;
}

/** One example of a preview. */
export interface PreviewExample {
  readonly place: RowPlace;
  readonly tokens: readonly PreviewToken[];
  readonly targets: number;
  /** Tokens cut off the end, to keep to the sequence length. */
  readonly cutTokens: number;
  /** Of the whole; absent where the targets are tokens. */
  readonly label?: string | number;
  /** What is read where the tokens are what is written: none of it is a target. */
  readonly source?: readonly PreviewToken[];
  /** In the place of tokens: the path of a picture. */
  readonly picture?: string;
}

/**
 * The first `count` examples of a data set.
 *
 * @param source Whose tokens they are: looked at for texts alone
 */
export function previewExamples(
  dataset: Dataset,
  source: { readonly tokenizer: Tokenizer },
  count: number,
): PreviewExample[] {
  const shown = Array.from({ length: Math.min(count, exampleCount(dataset)) }, (_, i) => i);
  const { pictures, labels } = dataset;
  if (pictures === undefined) return shown.map((i) => previewExample(dataset, source.tokenizer, i));
  return shown.map((i) => ({
    place: examplePlace(dataset, i),
    ...{ tokens: [], targets: 0, cutTokens: 0 },
    picture: pictures.paths[i] as string,
    ...(labels && { label: labelText(labels, i) }),
  }));
}

function previewExample(dataset: Dataset, tokenizer: Tokenizer, i: number): PreviewExample {
  const { labels, sources, offsets, ids, lossMask } = dataset;
  const start = offsets[i] as number;
  const own = ids.subarray(start, start + exampleLength(dataset, i));
  const tokens = previewTokens(own, tokenizer, (at) => lossMask[start + at] === 1);
  const targets = tokens.filter(({ loss }) => loss).length;
  return {
    place: examplePlace(dataset, i),
    ...(sources && {
      source: previewTokens(
        sources.ids.subarray(sources.offsets[i], sources.offsets[i + 1]),
        tokenizer,
        () => false,
      ),
    }),
    tokens,
    targets,
    cutTokens: dataset.cutOf[i] as number,
    ...(labels && { label: labelText(labels, i) }),
  };
}

function previewTokens(
  ids: Int32Array,
  tokenizer: Tokenizer,
  isTarget: (at: number) => boolean,
): PreviewToken[] {
  const stream = createDetokenizer(tokenizer, true);
  return Array.from(ids, (id, at) => {
    const text = at === ids.length - 1
      ? pushId(stream, id) + finishText(stream)
      : pushId(stream, id, ids[at + 1] as number);
    return { id, text, loss: isTarget(at) };
  });
}

/** The name of an example's class, or its value. */
export function labelText(labels: ExampleLabels, i: number): string | number {
  return labels.kind === "classes" ? labels.names[labels.of[i] as number] as string : labels.of[i] as number;
}

/**
 * Previews as text. In colour, targets are green underlined or bold by turns, the rest is dim; without, targets stand in
 * brackets: `Question: …\nAnswer:⟦ Paris|</s>⟧`. `|` parts tokens, and newlines show as ↵.
 */
export function formatPreview(
  examples: readonly PreviewExample[],
  options: { readonly color: boolean },
): string {
  return formatTerminalText(previewText(examples, options));
}

/** {@linkcode formatPreview} before colours are codes. */
export function previewText(
  examples: readonly PreviewExample[],
  { color }: { readonly color: boolean },
): TerminalText {
  return examples.flatMap((example, i) => {
    const { place, source = [], tokens, targets, cutTokens, label, picture } = example;
    const note = cutTokens > 0 ? `, ${cutTokens} more cut off` : "";
    const compared = label === undefined
      ? `${targets} of them targets`
      : `label ${visibleLine(String(label))}`;
    const read = source.length > 0 ? `${source.length} tokens to read, ` : "";
    // A picture of a folder's is where it stands.
    const seen = picture === undefined
      ? `${read}${tokens.length} tokens`
      : picture === place.path
      ? "picture"
      : `picture ${visibleLine(picture)}`;
    const counts = `${seen}, ${compared}${note}`;
    const head = `${visibleLine(formatPlace(place))}  ${counts}`;
    return [
      i === 0 ? "" : "\n",
      color ? { style: "bold", text: head } as const : head,
      "\n",
      ...(source.length > 0 ? [...(color ? colorTokens(source) : [bracketTokens(source)]), "\n"] : []),
      ...(picture !== undefined ? [] : [...(color ? colorTokens(tokens) : [bracketTokens(tokens)]), "\n"]),
    ];
  });
}

function colorTokens(tokens: readonly PreviewToken[]): (string | Styled)[] {
  return tokens.flatMap(({ text, loss }, i) => {
    const style: Styled["style"] = loss ? ["green", i % 2 === 0 ? "underline" : "bold"] : "dim";
    return visible(text).split("\n").flatMap((line, at) => [
      at === 0 ? "" : "\n",
      line === "" ? "" : { style, text: line },
    ]);
  });
}

function bracketTokens(tokens: readonly PreviewToken[]): string {
  return tokens.map(({ text, loss }, i) => {
    const before = i > 0 && (tokens[i - 1] as PreviewToken).loss;
    const open = loss === before ? (i > 0 ? "|" : "") : loss ? "⟦" : "⟧";
    return open + visible(text) + (loss && i === tokens.length - 1 ? "⟧" : "");
  }).join("");
}

/** Newlines are shown and kept; tabs and all that a terminal obeys are shown by their escapes. */
function visible(text: string): string {
  return text.split("\n").map(visibleLine).join("↵\n");
}
