# SPDX-License-Identifier: Apache-2.0
"""Activations of one training step in PyTorch, counted: the other side of `deno task bench activations`.

    python scripts/peers/activation_bytes.py CASES.json

Each case holds a transformers configuration, rows, length, and whether layers are checkpointed. All weights are trained, as in
full fine-tuning, in f32 with scaled-dot-product attention of the CPU. Tensors are fake: they have a size and a life and no
values, so that cases of any size take no memory and hardly any time. Prints a list of {"kept": ..., "peak": ...} in bytes:
what autograd saved for backward when the loss was computed, parameters left out, and the most that lived at one time,
parameters and their gradients left out.
"""

import json
import sys
import weakref
from pathlib import Path

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification


class LiveBytes(TorchDispatchMode):
    """Bytes of the storages that operations made and that still live, each storage once; now and at most.

    What is shaped like the table of embeddings is its gradient, before autograd calls it that.
    """

    def __init__(self, parameters, table):
        super().__init__()
        self.now, self.peak = 0, 0
        self.table = table.shape
        self.known = {weight.untyped_storage()._cdata: None for weight in parameters}
        for weight in parameters:
            weight.register_post_accumulate_grad_hook(lambda weight: self.drop(weight.grad.untyped_storage()._cdata))

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tree_map_only(torch.Tensor, self.add, out)
        return out

    def add(self, tensor):
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.known or tensor.shape == self.table:
            return
        self.known[key] = (storage.nbytes(), weakref.ref(storage, lambda _: self.drop(key)))
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)

    def drop(self, key):
        one = self.known.pop(key, None)
        if one is not None:
            self.now -= one[0]


def build(case):
    config = AutoConfig.for_model(**{"model_type": case["config"]["model_type"], **case["config"]})
    kind = AutoModelForCausalLM if "CausalLM" in config.architectures[0] else AutoModelForSequenceClassification
    model = kind.from_config(config, attn_implementation="sdpa", dtype=torch.float32)
    model.config.use_cache = False
    if case["checkpointing"]:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model.train()


def activations(case):
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = build(case)
        rows, length = case["rows"], case["length"]
        ids = torch.randint(model.config.vocab_size, (rows, length))
        labels = ids if "CausalLM" in model.config.architectures[0] else torch.zeros(rows, dtype=torch.long)
        own = {weight.untyped_storage()._cdata for weight in model.parameters()}
        saved = {}

        def pack(tensor):
            storage = tensor.untyped_storage()
            if storage._cdata not in own:
                saved[storage._cdata] = storage.nbytes()
            return tensor

        with LiveBytes(list(model.parameters()), model.get_input_embeddings().weight) as live:
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                loss = model(input_ids=ids, labels=labels).loss
            kept = sum(saved.values())
            loss.backward()
        return {"kept": kept, "peak": live.peak}


def main(cases_file):
    print(json.dumps([activations(case) for case in json.loads(Path(cases_file).read_text())]))


if __name__ == "__main__":
    main(*sys.argv[1:])
