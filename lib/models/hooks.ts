// SPDX-License-Identifier: Apache-2.0
/** Where an adapter meets a model. Models call hooks and never import adapters. */
import type { Awaitable } from "../core/awaitable.ts";
import type { Activation, Tensor } from "../tensor/tensor.ts";
import type { Coupling } from "./wiring/coupling.ts";

/**
 * A hook on a branch site: it sees the normalised input h (T,D) of a sublayer and adds y (T,D) to that sublayer's output,
 * before the residual add. `forward` is started before the frozen work and awaited after it, so that it may run on
 * another lane.
 */
export interface BranchHook<Residuals = unknown> {
  /** Whether it is in a layer; in all when absent. */
  has?(layer: number): boolean;
  /**
   * Whether residuals live in the host arena, or there are none: then they outlast a layer's activations. When those are
   * recomputed, forward runs once where the layer ends with this branch, and a second time, given what it left the first
   * time, where what comes above in the layer needs y again: to keep y would take as much memory as recomputing saves.
   * Else residuals live in the arena, forward runs again with its layer, and the residuals of the last run count.
   */
  readonly residualsOnHost?: boolean;
  /**
   * What it allocates, it allocates before it returns. y is there once the result has come and `Kernels.link` was told that
   * it arrives.
   *
   * @param h (T,D) read; backward is given it again     @param y (T,D) written. @mutates y
   * @param first What an earlier forward on the same h left in the host arena, when only y is wanted. It lives on, and
   *   backward is given it: what is returned now counts for `finish` alone
   */
  forward(layer: number, h: Tensor, y: Tensor, first?: Residuals): Awaitable<Residuals>;
  /**
   * What is left to do in the model's own lane once forward's result has come, in the order of the parts and layers: y (T,D)
   * is written here instead. The lane's order is its own until the result has come. @mutates y
   */
  finish?(layer: number, residuals: Residuals, h: Tensor, y: Tensor): Awaitable<void>;
  /** Writes this branch's share of dh (T,D), as forward does y. May run beside the frozen backward. @mutates dh */
  backward(layer: number, residuals: Residuals, h: Tensor, dy: Tensor, dh: Tensor): Awaitable<void>;
  /** As `finish`, of backward: dh (T,D) is written here instead, once the frozen backward was issued. @mutates dh */
  finishBackward?(layer: number, residuals: Residuals, h: Tensor, dy: Tensor, dh: Tensor): Awaitable<void>;
}

/**
 * A hook on linear sites: it sees the input x (T,I) and the output y (T,O) of a weight, each as it is stored: what it adds
 * to a y in bf16 is rounded as it is added. It keeps nothing of its own for
 * backward, which gets x once more: to compute a thin product again costs less than to keep it in every layer.
 */
export interface LinearHook {
  /** Whether it is called at a site of a layer; the number behind all layers is that of the head. */
  has(layer: number, site: string): boolean;
  /** Adds its delta to y. @mutates y */
  forward(layer: number, site: string, x: Activation, y: Activation): void;
  /**
   * Accumulates its gradients and adds its share to dx (T,I), which is null when nothing below needs it.
   *
   * @param x As given to forward     @param dy (T,O) read     @mutates dx
   */
  backward(layer: number, site: string, x: Activation, dy: Activation, dx: Activation | null): void;
}

/**
 * Hooks of a model. Several on one place all see the same input, and what they add is added in the order of the list:
 * of branches to the sublayer's output, of products to theirs, where each but the first sees y with what was added before.
 */
export interface Hooks {
  /** On products, at those sites of layers that each has. */
  readonly linear?: readonly LinearHook[];
  /** On branches, by the kind of sublayer that they are beside; those on the function that stands alone in a coupling are `ALONE`. */
  readonly branch?: ReadonlyMap<string, readonly BranchHook[]>;
  /**
   * Behind sublayers, by their kind: h (T,D) is what the sublayer and the hooks beside it give, o, and o + y takes its place
   * before norms and the residual add.
   */
  readonly behind?: ReadonlyMap<string, readonly BranchHook[]>;
  /** Two streams in the place of one, and how the layers join them; absent for a plain model. */
  readonly coupling?: Coupling;
}

/** Hooks on the branches beside sublayers of one kind. */
export function branchHooks(kind: string, ...hooks: readonly BranchHook[]): Hooks {
  return { branch: new Map([[kind, hooks]]) };
}

/** Hooks beside a layer's sublayer of a kind; none where the place is null. */
export function hooksBeside(hooks: Hooks, kind: string | null, layer: number): readonly BranchHook[] {
  return hooksAt(hooks.branch, kind, layer);
}

/** Hooks behind a layer's sublayer of a kind; none where the place is null. */
export function hooksBehind(hooks: Hooks, kind: string | null, layer: number): readonly BranchHook[] {
  return hooksAt(hooks.behind, kind, layer);
}

function hooksAt(places: Hooks["branch"], kind: string | null, layer: number): readonly BranchHook[] {
  const hooks = (kind !== null && places?.get(kind)) || NONE;
  return hooks.filter((hook) => hook.has?.(layer) !== false);
}

/** Hooks on one product of a layer. */
export function hooksOn({ linear }: Hooks, layer: number, site: string): readonly LinearHook[] {
  return linear?.filter((hook) => hook.has(layer, site)) ?? [];
}

/**
 * All of these, those of the first at the front.
 *
 * @throws {RangeError} When two couple the layers
 */
export function joinedHooks(all: readonly Hooks[]): Hooks {
  const couplings = all.flatMap(({ coupling }) => coupling ?? []);
  if (couplings.length > 1) {
    throw new RangeError("Layers that are coupled twice: one wiring is all there can be");
  }
  const [coupling] = couplings;
  const behind = joinedBranches(all.map(({ behind }) => behind));
  return {
    linear: all.flatMap(({ linear }) => linear ?? []),
    branch: joinedBranches(all.map(({ branch }) => branch)),
    ...(behind.size > 0 && { behind }),
    ...(coupling && { coupling }),
  };
}

function joinedBranches(all: readonly Hooks["branch"][]): ReadonlyMap<string, readonly BranchHook[]> {
  const joined = new Map<string, readonly BranchHook[]>();
  for (const own of all) {
    for (const [kind, hooks] of own ?? []) joined.set(kind, [...joined.get(kind) ?? [], ...hooks]);
  }
  return joined;
}

/** The same hooks, each in what it is wrapped in. */
export function wrappedHooks(
  { linear, branch, behind, ...others }: Hooks,
  wrap: {
    readonly linear: (hook: LinearHook) => LinearHook;
    readonly branch: (hook: BranchHook) => BranchHook;
  },
): Hooks {
  const wrapped = (hooks: Required<Hooks>["branch"]): Required<Hooks>["branch"] =>
    new Map([...hooks].map(([kind, own]) => [kind, own.map(wrap.branch)]));
  return {
    ...others,
    ...(linear && { linear: linear.map(wrap.linear) }),
    ...(branch && { branch: wrapped(branch) }),
    ...(behind && { behind: wrapped(behind) }),
  };
}

const NONE: readonly BranchHook[] = [];
