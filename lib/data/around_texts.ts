// SPDX-License-Identifier: Apache-2.0
/** What goes around texts: the marks of a class, of settings, or of languages. */
import type { TokenizerClass } from "./followed_class.ts";
import type { Languages } from "./languages.ts";
import type { TokenizerIds } from "./tokenizer_json.ts";

/** What a class puts around one text, and around two. */
export function surroundings(
  around: NonNullable<TokenizerClass["around"]>,
  idOf: (role: string) => number | null,
): Pick<TokenizerIds, "prefix" | "suffix" | "pair"> {
  const id = (role: string): number[] => [idOf(role) ?? []].flat();
  if (around === "nothing" || around === "bos") {
    const prefix = around === "bos" ? id("bos_token") : [];
    return { prefix, suffix: [], pair: { prefix, middle: prefix, suffix: [], secondType: 1 } };
  }
  const [prefix, suffix] = around === "xlm-r"
    ? [id("bos_token"), id("eos_token")]
    : [id("cls_token"), id("sep_token")];
  if (around === "bert") return { prefix, suffix, pair: { prefix, middle: suffix, suffix, secondType: 1 } };
  return { prefix, suffix, pair: { prefix, middle: [...suffix, ...suffix], suffix, secondType: 0 } };
}

/** What goes around texts where no file has a post-processor: what `add_bos_token` and `add_eos_token` say. */
export function settledIds(
  config: Readonly<Record<string, unknown>>,
  idOf: (role: string) => number | null,
): Pick<TokenizerIds, "prefix" | "suffix" | "pair"> {
  const prefix = config["add_bos_token"] === true ? [idOf("bos_token") ?? []].flat() : [];
  const suffix = config["add_eos_token"] === true ? [idOf("eos_token") ?? []].flat() : [];
  return { prefix, suffix, pair: { prefix, middle: [...suffix, ...prefix], suffix, secondType: 1 } };
}

/** The languages whose tokens a class puts around texts. */
export function languagesOf(
  { language, extraTokens = [] }: TokenizerClass,
  idOf: (role: string) => number | null,
  idOfToken: (token: string) => number | null,
): Languages {
  const end = [idOf("eos_token") ?? []].flat();
  const known = extraTokens.flatMap((code) => {
    const id = idOfToken(code);
    return id === null ? [] : [[code, id] as const];
  });
  const ids = Object.fromEntries(known);
  return {
    codes: Object.keys(ids),
    idOf: ids,
    around: (code) => {
      const own = ids[code] as number;
      return language === "before" ? { prefix: [own], suffix: end } : { prefix: [], suffix: [...end, own] };
    },
  };
}
