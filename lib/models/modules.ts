// SPDX-License-Identifier: Apache-2.0
/** The modules of a model as transformers names them: what PEFT's options choose from. */
import type { ModelConfig } from "./model.ts";
import { LINEAR_SITES, type LinearSite } from "./sites.ts";

/** What the names of a causal language model's layers begin with; the bare model's begin with nothing. */
export type ModuleRoot = "model." | "";

/** One module. */
export interface ModelModule {
  /** `model.layers.0.self_attn.q_proj` */
  readonly name: string;
  /** Null outside of the layers. */
  readonly layer: number | null;
  /** Null where an adapter on linear weights has no place. */
  readonly site: LinearSite | null;
}

/** The linear weight of a site within its layer: `self_attn.q_proj`. */
export function siteModule(site: LinearSite): string {
  const half = (["gate", "up", "down"] as readonly LinearSite[]).includes(site) ? "mlp" : "self_attn";
  return `${half}.${moduleWord(site)}`;
}

/** The last part of a site's name: `q_proj`. */
export function moduleWord(site: LinearSite): string {
  return `${site}_proj`;
}

/** All modules in the order in which transformers has them, the model itself left out. */
export function modelModules(config: ModelConfig, root: ModuleRoot): ModelModule[] {
  const other = (name: string, layer: number | null = null): ModelModule => ({ name, layer, site: null });
  const within = ["", ".self_attn", ".mlp", ".mlp.act_fn", ".input_layernorm", ".post_attention_layernorm"];
  if (config.headNorms) within.push(".self_attn.q_norm", ".self_attn.k_norm");
  const layers = Array.from({ length: config.numHiddenLayers }, (_, layer) => {
    const path = `${root}layers.${layer}`;
    return [
      ...within.map((name) => other(`${path}${name}`, layer)),
      ...LINEAR_SITES.map((site) => ({ name: `${path}.${siteModule(site)}`, layer, site })),
    ];
  }).flat();
  const outside = ["embed_tokens", "layers", "norm", "rotary_emb"].map((name) => other(`${root}${name}`));
  return root === "" ? [...outside, ...layers] : [other("model"), ...outside, ...layers, other("lm_head")];
}
