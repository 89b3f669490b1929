#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Everything that needs a CUDA device, in one go: builds, runs the kernel contract and a training on the device, and the
# sanitizers of the toolkit on a small step. Needs CUDA (nvcc, compute-sanitizer), CMake, a C++ compiler and Deno.
# Prints one table; the logs are in build/gpu_check. Exit code 0 only when every line is ok.
cd "$(dirname "$0")/.." || exit 1
export NO_COLOR=1
mkdir -p build/gpu_check
failed=0

# step NAME COMMAND...: runs a command, and adds a line to the table.
step() {
  name=$1
  shift
  begun=$(date +%s)
  if "$@" >"build/gpu_check/$name.log" 2>&1; then state=ok; else
    state=FAILED
    failed=1
  fi
  printf '%-12s %-7s %4d s  %s\n' "$name" "$state" "$(($(date +%s) - begun))" \
    "$(grep -E 'passed|ERROR SUMMARY|RACECHECK SUMMARY|CUDA device' "build/gpu_check/$name.log" | tail -1)"
}

# Compiles for the card that is there alone: minutes less.
architecture=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d .)
nvidia-smi --query-gpu=name,driver_version,memory.total,pcie.link.gen.max --format=csv,noheader || exit 1
grep -m1 'model name' /proc/cpuinfo
unset MEFT_CUDA_LIBRARY
step configure cmake -S csrc -B build/cpu "-DMEFT_CUDA_ARCHITECTURES=${architecture:-90}"
step build deno task build
step doctor deno task doctor
step contract deno test --allow-all --quiet tests/contract/device_test.ts tests/native/device_memory_test.ts
step training deno test --allow-all --quiet tests/native/train/cuda_test.ts
for tool in memcheck racecheck; do
  step "$tool" compute-sanitizer --tool "$tool" --target-processes all --error-exitcode 9 \
    deno test --allow-all --quiet --filter "/: (sparse|lora)$/" tests/native/train/cuda_test.ts
done
exit $failed
