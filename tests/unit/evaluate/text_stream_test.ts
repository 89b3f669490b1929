// SPDX-License-Identifier: Apache-2.0
/** Stop strings end what is said, whatever the pieces it comes in; where told so, they leave thoughts alone. */
import assert from "node:assert/strict";
import {
  createTextStream,
  finishStream,
  pushToken,
  type TextStreamOptions,
} from "../../../lib/evaluate/text_stream.ts";
import { fixtureTokenizer } from "../data/fixtures.ts";
import { CHARACTERS } from "./fake_session.ts";
import { threadTimeMs } from "../../thread_time.ts";

/** What is given out of a text that comes character by character. */
function shown(text: string, options: TextStreamOptions): string {
  const stream = createTextStream(CHARACTERS, options);
  let given = "";
  for (const character of text) {
    const piece = pushToken(stream, character.charCodeAt(0));
    given += piece.text;
    if (piece.stopped) return given;
  }
  return given + finishStream(stream);
}

const AFTER = { stopStrings: ["\n"], stopsAfterThoughts: true };

const CASES: readonly [text: string, given: string, opened?: boolean][] = [
  ["Paris\nmore", "Paris"],
  ["\nParis", ""],
  [" \n", " "],
  ["", ""],
  ["<", "<"],
  ["<thin\nking", "<thin"],
  ["[1]\n[2]", "[1]"],
  ["<think>\na\n> b\n</think>\n\n4 apples\nmore", "<think>\na\n> b\n</think>\n\n4 apples"],
  ["<think>\na\n</think>\n\n<think>\nb</think>\n4\n5", "<think>\na\n</think>\n\n<think>\nb</think>\n4"],
  ["<think>\na\nb", "<think>\na\nb"],
  ["<think>a</think>\n\n", "<think>a</think>\n\n"],
  ["a\nb\n</think>\n\n4\n5", "a\nb\n</think>\n\n4", true],
  ["a\nb", "a\nb", true],
];

for (const [text, given, opened = false] of CASES) {
  Deno.test(`a text stream gives ${JSON.stringify(given)} of ${JSON.stringify(text)}${opened ? ", opened" : ""}`, () => {
    assert.equal(shown(text, { ...AFTER, opened }), given);
    const [plain = ""] = text.split("\n");
    assert.equal(
      shown(text, { stopStrings: ["\n"] }),
      plain,
      "unless told so, stop strings count everywhere",
    );
    assert.equal(
      shown(text, { stopsAfterThoughts: true, opened }),
      text,
      "without stop strings all is given",
    );
  });
}

Deno.test("a text stream ends at the stop string that comes first in the text, whichever is named first", () => {
  const pieces = new Map([[1, "one, "], [2, "two. three; four"]]);
  const decode = (ids: ArrayLike<number>) => Array.from(ids, (id) => pieces.get(id)).join("");
  const stream = createTextStream({ ...CHARACTERS, decode }, { stopStrings: [";", "."] });
  assert.deepEqual(pushToken(stream, 1), { text: "one, ", stopped: false });
  assert.deepEqual(pushToken(stream, 2), { text: "two", stopped: true });
});

Deno.test("a text stream ends a broken-off character where a special token is shown", async () => {
  const tokenizer = await fixtureTokenizer("byte_level");
  const [half] = await tokenizer.encode("日") as [number];
  const [mark] = tokenizer.specialIds as Set<number>;
  const stream = createTextStream(tokenizer, { shownIds: new Set([mark as number]) });
  assert.equal(pushToken(stream, half).text, "");
  assert.equal(pushToken(stream, mark as number).text, `\u{fffd}${tokenizer.token(mark as number)}`);
  assert.equal(finishStream(stream), "");
});

Deno.test("a text stream takes a long thought in little time", () => {
  const thought = `<think>${"word ".repeat(30_000)}</think>\n4\n5`;
  const start = threadTimeMs();
  assert.equal(shown(thought, AFTER).length, thought.length - 2);
  assert(threadTimeMs() - start < 5000);
});
