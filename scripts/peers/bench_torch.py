# SPDX-License-Identifier: Apache-2.0
"""One training step in PyTorch, timed: the other side of `deno task bench`.

    python scripts/peers/bench_torch.py CASE.json

Prints a JSON line when ready, then for every line on standard input runs one step and prints {"ms": ..., "loss": ...}; for
the line "peak" it prints {"bytes": ...}, the most memory this process has held. A case holds the model's folder, dtype,
method with its sizes, batch, seed, threads, and whether to use torch.compile. Needs torch, transformers, and peft for LoRA.

It is meant to be as fast as PyTorch gets without code of its own: weights, activations and optimizer state in the case's
dtype (no autocast, no f32 masters), fused AdamW, scaled-dot-product attention, gradients set to None between steps.
"""

import json
import sys
import time
from pathlib import Path

import torch
from load_sparse import Beside
from torch import nn
from train import ParallelAdapter
from transformers import AutoModelForCausalLM


class MaskedAdapter(nn.Module):
    """MEFT as the published code computes it (Hao et al., ACL 2024): every neuron is scored, masks choose.

    g = W_g h, c = g where it is among the top-k_e else 0, z_j = c_e(j) (h . key_j), y = sum of ReLU(z_j) value_j over the
    top-K of all z_j. Arranged for speed: experts are a dimension (no index is gathered or scattered but the two top-Ks).
    """

    def __init__(self, hidden, neurons, experts, active_experts, top_k, dtype, router_scale=50.0, std=0.02):
        super().__init__()
        keys = torch.randn(neurons, hidden) * std
        router = router_scale * keys.view(experts, -1, hidden).mean(dim=1)
        self.keys, self.router = nn.Parameter(keys.to(dtype)), nn.Parameter(router.to(dtype))
        self.values = nn.Parameter(torch.zeros(neurons, hidden, dtype=dtype))
        self.experts, self.active_experts, self.top_k = experts, active_experts, top_k

    def forward(self, hidden):
        h = hidden.reshape(-1, hidden.shape[-1])
        g = h @ self.router.T
        best = g.topk(self.active_experts, dim=1, sorted=False)
        c = torch.zeros_like(g).scatter(1, best.indices, best.values)
        z = ((h @ self.keys.T).view(len(h), self.experts, -1) * c[:, :, None]).flatten(1)
        fires = torch.zeros_like(z).scatter(1, z.detach().topk(self.top_k, dim=1, sorted=False).indices, 1.0)
        return ((z * fires).relu() @ self.values).reshape(hidden.shape)


def adapters_beside(model, make):
    for layer in model.model.layers:
        layer.mlp = Beside(layer.mlp, make())
    return model


def build(case, dtype):
    model = AutoModelForCausalLM.from_pretrained(case["model"], dtype=dtype, attn_implementation="sdpa")
    model.requires_grad_(False)
    model.config.use_cache = False
    hidden = model.config.hidden_size
    sizes = case["sizes"]
    if case["method"] == "sparse":
        return adapters_beside(
            model,
            lambda: MaskedAdapter(
                hidden, sizes["neurons"], sizes["experts"], sizes["activeExperts"], sizes["topK"], dtype
            ),
        )
    if case["method"] == "parallel":
        neurons = sizes["neurons"]
        return adapters_beside(
            model,
            lambda: ParallelAdapter(
                (torch.randn(neurons, hidden) * 0.02).to(dtype), torch.zeros(neurons, hidden, dtype=dtype)
            ),
        )
    if case["method"] == "lora":
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(r=sizes["rank"], lora_alpha=sizes["alpha"], target_modules="all-linear")
        return get_peft_model(model, config, autocast_adapter_dtype=False)
    return model


class Step:
    """A step: forward, backward, clipping, AdamW. Without an adapter: forward and backward to the embedding's output."""

    def __init__(self, case):
        torch.manual_seed(case["seed"])
        model = build(case, {"f32": torch.float32, "bf16": torch.bfloat16}[case["dtype"]])
        model.train()
        self.weights = [weight for weight in model.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(self.weights, lr=1e-4, weight_decay=0.0, fused=True) if self.weights else None
        self.ids = torch.randint(model.config.vocab_size, (case["sequences"], case["seqLen"]))
        self.embedding = model.get_input_embeddings()
        self.model = torch.compile(model) if case["compile"] else model

    def run(self):
        if self.optimizer is None:
            x = self.embedding(self.ids).requires_grad_(True)
            loss = self.model(inputs_embeds=x, labels=self.ids).loss
            loss.backward()
            return loss.item()
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.model(input_ids=self.ids, labels=self.ids).loss
        loss.backward()
        nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        return loss.item()


def peak_bytes():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def main(case_file):
    case = json.loads(Path(case_file).read_text())
    torch.set_num_threads(case["threads"])
    step = Step(case)
    trained = sum(weight.numel() for weight in step.weights)
    print(json.dumps({"version": torch.__version__, "trained": trained}), flush=True)
    for line in sys.stdin:
        if line.strip() == "peak":
            print(json.dumps({"bytes": peak_bytes()}), flush=True)
            continue
        start = time.perf_counter()
        loss = step.run()
        print(json.dumps({"ms": 1e3 * (time.perf_counter() - start), "loss": loss}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
