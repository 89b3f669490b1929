# SPDX-License-Identifier: Apache-2.0
"""Single kernels in PyTorch, timed: the other side of `deno task bench kernels`.

    python scripts/peers/bench_kernels.py THREADS

For every line "NAME SIZES" on standard input prints {"seconds": ...}, of one call in a loop of at least 20 ms, or
{"missing": reason}. Sizes of the adapter are DxMxNxrxKxT as in csrc/bench/rounds.cpp. Needs torch; deepspeed (which compiles
its CPU Adam at the first use) where it is to be compared.

    topk COUNTxKEEP                        per row, one thread
    embedding_bag SIZES                    y: K rows of the values for each of T tokens, f32
    adamw_foreach, adamw_tensor COUNT      torch.optim.AdamW
    deepspeed COUNT                        deepspeed's DeepSpeedCPUAdam
    gathered SIZES                         the adapter's step: top-K rows gathered, rows of gradients added, rows stepped
    grouped_f32, grouped_bf16 SIZES        the same as dense products an expert, top-K as a mask, AdamW on all rows
"""

import json
import sys
import time

import torch

THREADS = int(sys.argv[1])


def timed(call, least=0.02):
    start, calls = time.perf_counter(), 0
    while True:
        call()
        calls += 1
        elapsed = time.perf_counter() - start
        if elapsed >= least:
            return elapsed / calls


def topk(count, keep):
    torch.set_num_threads(1)
    rows = max(8, (1 << 20) // count)
    scores = torch.randn(rows, count)
    seconds = lambda: timed(lambda: torch.topk(scores, keep, dim=1, sorted=False)) / rows
    return seconds


def embedding_bag(d, m, n, r, k, t):
    values, index, weights = torch.randn(m, d), torch.randint(0, m, (t, k)), torch.rand(t, k)
    bag = torch.nn.functional.embedding_bag
    return lambda: timed(lambda: bag(index, values, mode="sum", per_sample_weights=weights))


def adamw(count, foreach):
    p = torch.nn.Parameter(torch.randn(count))
    p.grad = torch.randn(count)
    optimizer = torch.optim.AdamW([p], foreach=foreach)
    return lambda: timed(optimizer.step)


def deepspeed(count):
    from deepspeed.ops.adam import DeepSpeedCPUAdam

    p = torch.nn.Parameter(torch.randn(count))
    p.grad = torch.randn(count)
    optimizer = DeepSpeedCPUAdam([p], adamw_mode=True)
    return lambda: timed(optimizer.step)


def routed(d, m, n, r, t):
    keys, values = torch.rand(m, d) - 0.5, (torch.rand(m, d) - 0.5) * 0.1
    h, dy = torch.randn(t, d), torch.randn(t, d) * 1e-3
    route = torch.stack([torch.randperm(n)[:r].sort().values for _ in range(t)])
    return keys, values, h, dy, route


def gathered(d, m, n, r, k, t):
    keys, values, h, dy, route = routed(d, m, n, r, t)
    moments = [torch.zeros(m, d) for _ in range(4)]
    size = m // n
    ids = (route * size).repeat_interleave(size, 1) + torch.arange(size).repeat(r)

    def pieces(call):  # T*K rows at once would need T*K*d*4 bytes
        return torch.cat([call(slice(i, i + 64)) for i in range(0, t, 64)])

    def adam(w, m1, m2, rows, grad, lr=1e-3):
        a = m1[rows].mul_(0.9).add_(grad, alpha=0.1)
        b = m2[rows].mul_(0.999).addcmul_(grad, grad, value=0.001)
        w[rows] = w[rows].addcdiv_(a, b.sqrt().add_(1e-8), value=-lr)
        m1[rows], m2[rows] = a, b

    def step():
        scores = torch.full((t, r, size), float("-inf"))
        for e in range(n):
            tokens, slots = (route == e).nonzero(as_tuple=True)
            scores[tokens, slots] = h[tokens] @ keys[e * size : (e + 1) * size].T
        best, place = scores.view(t, -1).topk(k, 1, sorted=False)
        z, index = best.relu(), ids.gather(1, place)
        pieces(lambda s: torch.bmm(z[s].unsqueeze(1), values[index[s]]).squeeze(1))
        dz = pieces(lambda s: torch.bmm(values[index[s]], dy[s].unsqueeze(2)).squeeze(2)) * (z > 0)
        rows, inverse = index.reshape(-1).unique(return_inverse=True)

        def gradient(weights, x):
            out, to = torch.zeros(len(rows), d), inverse.view(t, k)
            for i in range(0, t, 64):
                s = slice(i, i + 64)
                out.index_add_(0, to[s].reshape(-1), (weights[s].unsqueeze(2) * x[s].unsqueeze(1)).reshape(-1, d))
            return out

        dvalues, dkeys = gradient(z, dy), gradient(dz, h)
        pieces(lambda s: torch.bmm(dz[s].unsqueeze(1), keys[index[s]]).squeeze(1))
        adam(keys, moments[0], moments[1], rows, dkeys)
        adam(values, moments[2], moments[3], rows, dvalues)

    return lambda: timed(step)


def grouped(d, m, n, r, k, t, dtype):
    keys, values, h, dy, route = routed(d, m, n, r, t)
    h, dy = h.to(dtype), dy.to(dtype)
    size = m // n
    tokens = [(route == e).nonzero(as_tuple=True) for e in range(n)]
    keys.grad, values.grad = torch.zeros_like(keys), torch.zeros_like(values)
    a, b = torch.nn.Parameter(keys), torch.nn.Parameter(values)
    a.grad, b.grad = keys.grad, values.grad
    optimizer = torch.optim.AdamW([a, b], fused=True)

    def step():
        low_keys, low_values = keys.to(dtype), values.to(dtype)
        scores = torch.zeros(t, r, size, dtype=dtype)
        for e, (x, slots) in enumerate(tokens):
            scores[x, slots] = h[x] @ low_keys[e * size : (e + 1) * size].T
        flat = scores.view(t, -1)
        bound = flat.topk(k, 1).values[:, -1:]
        z = torch.where(flat >= bound, flat, torch.zeros((), dtype=dtype)).relu().view(t, r, size)
        y, dh = torch.zeros(t, d), torch.zeros(t, d)
        for e, (x, slots) in enumerate(tokens):
            y.index_add_(0, x, (z[x, slots] @ low_values[e * size : (e + 1) * size]).float())
        for e, (x, slots) in enumerate(tokens):
            s = slice(e * size, (e + 1) * size)
            of, up = z[x, slots], dy[x]
            dz = (up @ low_values[s].T) * (of > 0)
            b.grad[s], a.grad[s] = of.T @ up, dz.T @ h[x]
            dh.index_add_(0, x, (dz @ low_keys[s]).float())
        optimizer.step()

    return lambda: timed(step)


KERNELS = {
    "topk": topk,
    "embedding_bag": embedding_bag,
    "adamw_foreach": lambda count: adamw(count, True),
    "adamw_tensor": lambda count: adamw(count, False),
    "deepspeed": deepspeed,
    "gathered": gathered,
    "grouped_f32": lambda *sizes: grouped(*sizes, torch.float32),
    "grouped_bf16": lambda *sizes: grouped(*sizes, torch.bfloat16),
}


def main():
    kept, call = None, None
    for line in sys.stdin:
        name, sizes = line.split()
        try:
            with torch.no_grad():
                if kept != line:  # operands of one case at a time: they are large
                    torch.set_num_threads(THREADS)
                    call = None
                    kept, call = line, KERNELS[name](*(int(x) for x in sizes.split("x")))
                    call()
                answer = {"seconds": call()}
        except ImportError as error:
            kept, answer = None, {"missing": str(error)}
        except Exception as error:  # a peer that does not run here is a missing peer, said so in the table
            kept, answer = None, {"missing": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


main()
