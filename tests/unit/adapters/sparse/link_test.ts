// SPDX-License-Identifier: Apache-2.0
/** The sparse adapter's branch over a link that is late: what is read too early or kept too long is not a number. */
import { hookBeside } from "../../../fixtures/hooks.ts";
import assert from "node:assert/strict";
import type { AdapterParams, AttachOptions, RowPlacement } from "../../../../lib/adapters/adapter.ts";
import { resolveAdapter } from "../../../../lib/adapters/registry.ts";
import { rowsBehind, type SparseLayer } from "../../../../lib/adapters/sparse/layer.ts";
import type { JsonObject } from "../../../../lib/core/json.ts";
import { directLink, type HostLink, type LinkArray } from "../../../../lib/ops/host_link.ts";
import type { Kernels } from "../../../../lib/ops/kernels/kernels.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import type { RowCatchUp, RowsStep } from "../../../../lib/optim/optimizer.ts";
import { clearGradients, type RowParameter } from "../../../../lib/optim/parameters.ts";
import { assertSame, assertWithin } from "../../../compare.ts";
import { wholeGradients } from "../../train/gradients.ts";
import { smallModel } from "../../train/small_run.ts";

const SPARSE = { neurons: 12, experts: 4, activeExperts: 2, topK: 3 };
const [TOKENS, HIDDEN] = [7, 24];
const HOST: RowPlacement = { kind: "host" };
const DEVICE: RowPlacement = { kind: "device", cachedRows: 5 };

/** Kernels whose copies hold numbers from `ready` to `release` only, and a count of those not given back. */
function lateKernels() {
  const own = new Set<ArrayBufferLike>();
  const landings = new Map<LinkArray, { data: LinkArray; ready: boolean }>();
  const open = { arrivals: 0, landings };
  const later = async (does: () => void) => {
    await Promise.resolve();
    does();
  };
  const link: HostLink = {
    ...directLink(),
    direct: false,
    down(from, keep) {
      const now = from.slice();
      const data = (keep?.(from.length) ?? now.slice()) as typeof from;
      data.fill(NaN);
      if (!keep) open.arrivals++;
      const release = () => {
        if (keep) return;
        open.arrivals--;
        data.fill(NaN);
      };
      return { data, kept: keep !== undefined, ready: () => later(() => data.set(now)), release };
    },
    landing(to) {
      const place = { data: to.slice().fill(NaN) as typeof to, ready: false };
      landings.set(to, place);
      return { data: place.data, ready: () => later(() => void (place.ready = true)) };
    },
    arrive(to) {
      const place = landings.get(to);
      if (!place) return;
      assert.ok(place.ready, "written before the copy that last read the place was done");
      landings.delete(to);
      to.set(place.data);
    },
  };
  const modelFloats = (count: number) => {
    const floats = new Float64Array(count).fill(NaN); // what was never written
    own.add(floats.buffer);
    return floats;
  };
  const device = {
    holds: (array: ArrayBufferView) => own.has(array.buffer),
    release: (buffer: ArrayBufferLike) => void own.delete(buffer),
  } as unknown as NonNullable<Kernels["device"]>;
  const k: Kernels = { ...referenceKernels(), device, modelFloats, modelActivations: modelFloats, link };
  return { k, open, own };
}

function create(k: Kernels, options: JsonObject): AdapterParams {
  using model = smallModel();
  const { adapter, problems } = resolveAdapter({ kind: "sparse", options }, model.config);
  assert.deepEqual(problems, []);
  const params = adapter.create(k, model, TOKENS);
  params.init(k, 1);
  for (const [i, parameter] of params.parameters.entries()) {
    if (parameter.kind === "rows") k.randomNormal(parameter.matrix.full!, 5, i, 0.3);
  }
  return params;
}

/** y, dh and gradients of one pass through a layer, as the model asks for them. */
async function pass(k: Kernels, params: AdapterParams, options: AttachOptions, layer = 1, runsAgain = false) {
  const ffn = hookBeside(params.attach(k, options).hooks);
  const tensor = (stream: number) => {
    const data = new Float64Array(TOKENS * HIDDEN).fill(NaN);
    if (stream >= 0) k.randomNormal(data, 3, stream, 1);
    return { shape: [TOKENS, HIDDEN], data };
  };
  const [h, dy, y, again, dh] = [tensor(0), tensor(1), tensor(-1), tensor(-1), tensor(-1)];
  const held = k.arena.usedBytes;
  const residuals = await ffn.forward(layer, h, y);
  k.link.arrive(y.data);
  await ffn.finish?.(layer, residuals, h, y);
  // Over a link that copies, the host lane reads no memory of the model's.
  const seen = k.link.direct || ffn.finishBackward ? h : tensor(-1);
  if (runsAgain) { // as where the layer is undone
    const second = await ffn.forward(layer, seen, again, residuals);
    k.link.arrive(again.data);
    await ffn.finish?.(layer, second, h, again);
    assertSame(again.data, y.data);
  }
  await ffn.backward(layer, residuals, seen, dy, dh);
  k.link.arrive(dh.data);
  await ffn.finishBackward?.(layer, residuals, h, dy, dh);
  assert.equal(k.arena.usedBytes, held, "nothing stays in the arena");
  await params.collectGradients!();
  return { y: y.data, dh: dh.data, gradients: wholeGradients(params.parameters) };
}

/** Moves all parameters, as a step does. */
function move(k: Kernels, { parameters }: AdapterParams): void {
  clearGradients(k, parameters);
  for (const [i, parameter] of parameters.entries()) {
    const data = parameter.kind === "rows" ? parameter.matrix.full! : parameter.data;
    k.randomNormal(data as Float64Array, 8, i, 0.3);
  }
}

const CASES: readonly JsonObject[] = [
  SPARSE,
  { ...SPARSE, gate: "softmax", scope: "union" },
  { ...SPARSE, gate: "sigmoid", keys: "frozen" },
  { ...SPARSE, gate: "none", topK: 6 },
];

for (const options of CASES) {
  for (const placement of [HOST, DEVICE]) {
    Deno.test(`${JSON.stringify(options)} with rows at ${placement.kind} waits for what it reads, and gives every place back`, async () => {
      const plain = referenceKernels();
      const { k, open, own } = lateKernels();
      const [exact, params] = [create(plain, options), create(k, options)];
      for (const step of [1, 2]) {
        const expected = await pass(plain, exact, { placement: HOST }, 1, true);
        const actual = await pass(k, params, { placement }, 1, true);
        assertWithin(`y of step ${step}`, actual.y, expected.y, 1e-12);
        assertWithin(`dh of step ${step}`, actual.dh, expected.dh, 1e-12);
        assert.deepEqual([...actual.gradients.keys()], [...expected.gradients.keys()]);
        for (const [name, gradient] of expected.gradients) {
          assertWithin(name, actual.gradients.get(name)!, gradient, 1e-12);
        }
        for (const [own, moved] of [[plain, exact], [k, params]] as const) move(own, moved);
      }
      assert.deepEqual([open.arrivals, open.landings.size], [0, 0]);
      // Keys and values with their gradients, and the router with its own where a gate needs one.
      const slots = placement.kind === "host" ? 0 : options["keys"] === "frozen" ? 3 : 4;
      const trainedRouter = placement.kind === "device" ? 2 : 0;
      assert.equal(own.size, slots + (options["gate"] === "none" ? trainedRouter / 2 : trainedRouter));
      params.release();
      assert.equal(own.size, 0);
      assert.equal(k.ledger.held.get("cache") ?? 0, 0);
    });
  }
}

Deno.test("forgetRows() leaves nothing of a pass that was not collected: no row, no router, no gradient", async () => {
  const plain = referenceKernels();
  const { k } = lateKernels();
  const [exact, params] = [create(plain, SPARSE), create(k, SPARSE)];
  await pass(k, { ...params, collectGradients: () => {} }, { placement: DEVICE });
  params.forgetRows!();
  for (const [own, moved] of [[plain, exact], [k, params]] as const) move(own, moved);
  const expected = await pass(plain, exact, { placement: HOST });
  const actual = await pass(k, params, { placement: DEVICE });
  for (const name of ["y", "dh"] as const) assertWithin(name, actual[name], expected[name], 1e-12);
  for (const [name, gradient] of expected.gradients) {
    assertWithin(name, actual.gradients.get(name)!, gradient, 1e-12);
  }
});

Deno.test("rows travel once while there is room, and the layers' traffic is added up", async () => {
  for (const cachedRows of [12, 1000]) {
    const k = referenceKernels();
    const params = create(k, SPARSE);
    const ofLayers: number[] = [];
    for (const layer of [0, 1]) {
      await pass(k, params, { placement: { kind: "device", cachedRows } }, layer);
      ofLayers.push(params.layerActivity!()[layer]!.firedNeurons.length);
      const fired = ofLayers.reduce((sum, count) => sum + count);
      // Brought for y; still there for the gradients of the values, and for those of the keys.
      const bytes = fired * 2 * HIDDEN * 8;
      const traffic = { hits: 2 * fired, misses: fired, evictions: 0, upBytes: bytes, downBytes: bytes };
      assert.deepEqual(params.rowTraffic!(), traffic);
    }
    assert.ok(ofLayers.every((fired) => fired > 5), `${ofLayers}`);
    // Never more slots than rows: keys, values and their gradients.
    assert.equal(k.ledger.held.get("cache"), 2 * 4 * 12 * HIDDEN * 8);
    params.release();
    assert.equal(k.ledger.held.get("cache"), 0);
  }
});

Deno.test("with fewer slots than rows the keys' gradients begin with the rows that the values' ended with", async () => {
  const k = referenceKernels();
  const params = create(k, SPARSE);
  await pass(k, params, { placement: { kind: "device", cachedRows: 5 } });
  const { hits, misses } = params.rowTraffic!()!;
  const fired = params.layerActivity!()[1]!.firedNeurons.length;
  assert.equal(hits + misses, 3 * fired);
  assert.ok(fired > 5 && hits >= 1 + (fired - 1) % 5, `${hits} of ${fired}`);
});

const step = { step: 3 } as unknown as RowCatchUp["step"];
/** Rows of these parameters lag. */
const lagging = (...parts: readonly string[]) => (parameter: RowParameter): RowCatchUp | null =>
  parts.some((part) => parameter.name.endsWith(part))
    ? { moments: parameter.name, step } as unknown as RowCatchUp
    : null;

Deno.test("rows of a layer lag when its keys or its values do", () => {
  const [keys, values] = ["keys", "values"].map((part) => ({ name: `the ${part}` }));
  const layer = { keys, values } as unknown as SparseLayer;
  assert.equal(rowsBehind(layer, {}), null);
  assert.equal(rowsBehind(layer, { behind: lagging() }), null);
  const of = (...parts: readonly string[]) => rowsBehind(layer, { behind: lagging(...parts) });
  assert.deepEqual(of("keys", "values"), { keys: "the keys", values: "the values", step });
  assert.deepEqual(of("values"), { keys: null, values: "the values", step });
  assert.deepEqual(of("keys"), { keys: "the keys", values: null, step });
});

for (const placement of [HOST, DEVICE]) {
  Deno.test(`forward brings the rows of its own layer up to date, backward none: ${placement.kind}`, async () => {
    const first = referenceKernels();
    const asked: unknown[] = [];
    const k: Kernels = {
      ...first,
      sparseBranchForward: (y, call, behind) => {
        asked.push(behind);
        return first.sparseBranchForward(y, call, null);
      },
    };
    const name = (part: string) => `base_model.model.model.layers.1.mlp.meft.${part}`;
    const expected = { keys: name("keys"), values: name("values"), step };
    await pass(k, create(k, SPARSE), { placement, behind: lagging("keys", "values") });
    assert.deepEqual(asked, [expected]);
    asked.length = 0;
    await pass(k, create(k, { ...SPARSE, scope: "union" }), { placement, behind: lagging("keys", "values") });
    assert.deepEqual(asked, [expected]);
  });
}

for (const keys of ["trained", "frozen"]) {
  Deno.test(`rows that step in backward are told with the squares of each parameter's gradient: keys ${keys}`, async () => {
    const k: Kernels = { ...referenceKernels(), sparseBackwardStep: () => [1, 2, 3] };
    const params = create(k, { ...SPARSE, keys });
    const [router, ofKeys, values] = params.byLayer[1]!;
    const [asked, told]: [unknown[], unknown[]] = [[], []];
    const fusedRows: AttachOptions["fusedRows"] = {
      step: () =>
        ({ moments: (parameter: RowParameter) => void asked.push(parameter) }) as unknown as RowsStep,
      stepped: (squares) => void told.push(...squares),
    };
    await pass(k, params, { fusedRows });
    const trained = keys === "trained";
    const wanted = trained ? [ofKeys, values] : [values];
    assert.ok(asked.length === wanted.length && asked.every((one, i) => one === wanted[i]));
    const squares = new Map(told as [unknown, number][]);
    assert.deepEqual(
      [squares.get(router), squares.get(ofKeys), squares.get(values)],
      [1, trained ? 2 : undefined, 3],
    );
  });
}
