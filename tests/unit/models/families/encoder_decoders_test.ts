// SPDX-License-Identifier: Apache-2.0
/** Encoders with a decoder against transformers. */
import { shiftedRight } from "../../../../lib/data/shift_right.ts";
import { openCheckpoint } from "../../../../lib/models/load.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import { assertSame } from "../../../compare.ts";
import { checkpointFixture, ENCODER_DECODER_FIXTURES } from "../../../fixtures/checkpoint_fixture.ts";
import { testPasses } from "../pass_tests.ts";

for (const name of ENCODER_DECODER_FIXTURES) testPasses(name);

Deno.test("a decoder reads what should come out, moved by the rule of its family", () => {
  for (const name of ["encoder_decoders/bart", "encoder_decoders/mbart"]) {
    const { dir, batch, integers } = checkpointFixture(name);
    using model = openCheckpoint(dir, referenceKernels());
    const { shiftedIn } = model.config.decoderIds!;
    assertSame(shiftedRight(integers("labels_in_full"), batch.starts, shiftedIn), batch.ids);
  }
});
