# SPDX-License-Identifier: Apache-2.0
"""Training steps of a large model in PyTorch, timed on the GPU: the rivals of `deno task bench gpu`.

    python scripts/peers/bench_gpu.py CASE.json

A case holds the fields of config.json, the tokens of a step (one sequence), warm-ups, rounds, seed and threads. Weights are
random, drawn where they are used: no file. Prints a JSON line when the model is there; then, for every JSON line
{"method", "neurons"} on standard input, one with the milliseconds of each round, the most GPU memory that tensors took, and
the parameters trained, or {"problem": ...}. Methods: "none", the frozen model, forward and backward to the embedding's
output; "lora", PEFT on every linear weight; "dense", an adapter of that many neurons beside every feed-forward sublayer, with
fused AdamW on the GPU; "dense-host-adam", the same with only AdamW on the CPU: gradients come down during backward into
pinned memory, masters and moments are f32, and bf16 weights go up. Without a GPU all runs on the CPU, to test this script.

It is meant to be as lean as PyTorch gets: weights, activations and the GPU's optimizer state in bf16, no autocast, no clipping.
"""

import gc
import json
import sys
import time
from pathlib import Path

import torch
from load_sparse import Beside
from torch import nn
from train import ParallelAdapter
from transformers import AutoConfig, AutoModelForCausalLM

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# Of host memory, for each parameter of an adapter whose optimizer is the CPU's: f32 master and two moments, bf16 in transit.
HOST_ADAM_BYTES = 14


def synchronize():
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def build(case):
    config = AutoConfig.for_model(**case["config"])
    with DEVICE:
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa")
    model.requires_grad_(False)
    model.config.use_cache = False
    return model.train()


class HostAdam:
    """AdamW of the host over f32 masters of bf16 weights of the GPU."""

    def __init__(self, weights):
        self.weights = weights
        self.masters = [weight.detach().float().cpu() for weight in weights]
        pinned = DEVICE.type == "cuda"
        self.arrivals = [torch.empty(w.shape, dtype=w.dtype, pin_memory=pinned) for w in weights]
        self.optimizer = torch.optim.AdamW(self.masters, lr=1e-4, weight_decay=0.0, fused=True)
        for weight, arrival in zip(weights, self.arrivals):
            weight.register_post_accumulate_grad_hook(lambda w, arrival=arrival: self.send_down(w, arrival))

    def send_down(self, weight, arrival):
        arrival.copy_(weight.grad, non_blocking=True)
        weight.grad = None

    def step(self):
        synchronize()
        for master, arrival in zip(self.masters, self.arrivals):
            master.grad = arrival.float()
        self.optimizer.step()
        for weight, master, arrival in zip(self.weights, self.masters, self.arrivals):
            master.grad = None
            arrival.copy_(master)
            weight.data.copy_(arrival, non_blocking=True)


class DeviceAdam:
    """Fused AdamW where the weights are."""

    def __init__(self, weights):
        self.optimizer = torch.optim.AdamW(weights, lr=1e-4, weight_decay=0.0, fused=True)

    def step(self):
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


class Trained:
    """The model with a method in place. `restore` takes it out again."""

    def __init__(self, model, method, neurons):
        self.bare, self.model, self.method = model, model, method
        if method == "lora":
            from peft import LoraConfig, get_peft_model

            config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear")
            self.model = get_peft_model(model, config, autocast_adapter_dtype=False)
        elif method != "none":
            check_host_room(model, method, neurons)
            hidden = model.config.hidden_size
            for layer in model.model.layers:
                keys = torch.randn(neurons, hidden, device=DEVICE, dtype=torch.bfloat16) * 0.02
                layer.mlp = Beside(layer.mlp, ParallelAdapter(keys, torch.zeros_like(keys)))
        self.weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.optimizer = None
        if self.weights:
            self.optimizer = (HostAdam if method == "dense-host-adam" else DeviceAdam)(self.weights)

    def step(self, ids):
        if self.optimizer is None:
            x = self.bare.get_input_embeddings()(ids).requires_grad_(True)
            loss = self.model(inputs_embeds=x, labels=ids).loss
            loss.backward()
        else:
            loss = self.model(input_ids=ids, labels=ids).loss
            loss.backward()
            self.optimizer.step()
        synchronize()
        return loss.item()

    def restore(self):
        if self.method == "lora":
            self.model.unload()
        for layer in self.bare.model.layers:
            if isinstance(layer.mlp, Beside):
                layer.mlp = layer.mlp.mlp
        self.bare.requires_grad_(False)


def check_host_room(model, method, neurons):
    if method != "dense-host-adam":
        return
    parameters = 2 * neurons * model.config.hidden_size * model.config.num_hidden_layers
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) * 1024
    wanted = HOST_ADAM_BYTES * parameters
    if wanted > 0.95 * free:
        raise MemoryError(f"it takes {wanted / 1e9:.1f} GB of host memory, {free / 1e9:.1f} GB are free")


def measure(case, model, ids, request):
    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    trained = Trained(model, request["method"], request["neurons"])
    try:
        losses = [trained.step(ids) for _ in range(case["warmups"])]
        ms = []
        for _ in range(case["rounds"]):
            start = time.perf_counter()
            trained.step(ids)
            ms.append(1e3 * (time.perf_counter() - start))
    finally:
        trained.restore()
    peak = torch.cuda.max_memory_allocated() if DEVICE.type == "cuda" else 0
    count = sum(weight.numel() for weight in trained.weights)
    return {"ms": ms, "bytes": peak, "trained": count, "loss": losses[0]}


def answer(case, model, ids, request):
    try:
        return measure(case, model, ids, request)
    except (MemoryError, torch.cuda.OutOfMemoryError) as error:
        return {"problem": str(error).splitlines()[0]}
    finally:
        gc.collect()
        if DEVICE.type == "cuda":
            torch.cuda.empty_cache()


def main(case_file):
    case = json.loads(Path(case_file).read_text())
    torch.set_num_threads(case["threads"])
    torch.manual_seed(case["seed"])
    model = build(case)
    ids = torch.randint(model.config.vocab_size, (1, case["tokens"]), device=DEVICE)
    print(json.dumps({"version": f"PyTorch {torch.__version__} on {DEVICE.type}"}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(case, model, ids, json.loads(line))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
