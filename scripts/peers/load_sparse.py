# SPDX-License-Identifier: Apache-2.0
"""Loads a sparse adapter's folder into a transformers model, by the published equations.

    from load_sparse import attach, load_model

    model = load_model("checkpoints/llama")
    attach(model, "runs/facts/adapter")  # from here on, an ordinary transformers model

Needs torch, transformers, safetensors. `logits.py` compares with it, `train.py` trains it.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM

GATES = {
    "raw": lambda g: g,
    "softmax": lambda g: g.softmax(dim=-1),
    "sigmoid": torch.sigmoid,
    "none": torch.ones_like,
}


class SparseAdapter(nn.Module):
    """MEFT (Hao et al., ACL 2024) with masks over all neurons, as its published code computes it.

    g = W_g h, tau = top-k_e(g), z_j = c_e(j) (h . key_j) for j in the experts tau, y = sum of ReLU(z_j) value_j over the
    top-K neurons: each token's own (scope token), or those that any token of the micro-batch chose (scope union).
    """

    def __init__(self, settings, router, keys, values):
        super().__init__()
        self.settings = settings
        self.router = nn.Parameter(router, requires_grad=settings["gate"] != "none")
        self.keys = nn.Parameter(keys, requires_grad=settings["keys"] == "trained")
        self.values = nn.Parameter(values)

    def forward(self, hidden):
        h = hidden.reshape(-1, hidden.shape[-1])
        neurons, experts, active = (self.settings[name] for name in ("neurons", "experts", "activeExperts"))
        expert_of = torch.arange(neurons) // (neurons // experts)
        g = h @ self.router.T
        chosen = torch.zeros_like(g).scatter(1, g.topk(active, dim=1).indices, 1.0)[:, expert_of] > 0
        z = GATES[self.settings["gate"]](g)[:, expert_of] * (h @ self.keys.T)
        count = min(self.settings["topK"], active * (neurons // experts))
        top = z.detach().masked_fill(~chosen, -torch.inf).topk(count, dim=1).indices
        fires = torch.zeros_like(z).scatter(1, top, 1.0)
        if self.settings["scope"] == "union":
            fires = fires.amax(dim=0, keepdim=True)
        return ((z * fires).relu() @ self.values).reshape(hidden.shape)


class Beside(nn.Module):
    """A feed-forward sublayer and an adapter on the same input."""

    def __init__(self, mlp, adapter):
        super().__init__()
        self.mlp, self.adapter = mlp, adapter

    def forward(self, hidden):
        return self.mlp(hidden) + self.adapter(hidden)


def attach_each(model, folder, make):
    """Puts `make(settings, tensors of the layer)` beside every feed-forward sublayer. Every tensor must be used. Returns them."""
    config = json.loads((Path(folder) / "adapter_config.json").read_text())
    if config["peft_type"] != "MEFT":
        raise ValueError(f"{folder} holds a {config['peft_type']} adapter, expected MEFT")
    tensors = load_file(Path(folder) / "adapter_model.safetensors")
    adapters = []
    for number, layer in enumerate(model.model.layers):
        prefix = f"base_model.model.model.layers.{number}.mlp.meft."
        own = {name.removeprefix(prefix): tensors.pop(name) for name in list(tensors) if name.startswith(prefix)}
        adapters.append(make(config["settings"], {name: tensor.to(model.dtype) for name, tensor in own.items()}))
        layer.mlp = Beside(layer.mlp, adapters[-1])
    if tensors:
        raise ValueError(f"{folder} has tensors for no layer: {sorted(tensors)}")
    return adapters


def attach(model, folder):
    """Attaches a saved sparse adapter. Returns its layers."""
    return attach_each(model, folder, lambda settings, tensors: SparseAdapter(settings, **tensors))


def logits_of(model, batch):
    """(tokens, vocabulary). All sequences lie one after the other in one row, and see only themselves."""
    ids, positions, starts = (torch.tensor(batch[name]) for name in ("ids", "positions", "starts"))
    sequence = torch.bucketize(torch.arange(len(ids)), starts[1:], right=True)
    visible = (sequence[:, None] == sequence[None, :]).tril()
    mask = torch.zeros(visible.shape, dtype=model.dtype).masked_fill(~visible, torch.finfo(model.dtype).min)
    return model(
        input_ids=ids[None], position_ids=positions[None], attention_mask=mask[None, None], use_cache=False
    ).logits[0]


def load_model(folder, dtype=torch.float32):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager")
