#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Everything that needs a CUDA device, in one go and under ten minutes from a bare clone: builds, runs the kernel
# contract and a training on the device, the sanitizers of the toolkit on a small step, and as much of
# `deno task bench gpu` as the time left allows. Prints one table; logs are in build/gpu_check, figures in bench/gpu.json.
# Exit code 0 only when every line is ok.
#
# Needs CUDA (nvcc, compute-sanitizer), CMake, a C++ compiler, and Deno: the one on the PATH, or what gpu_carry.sh
# collected in build/carry (or in the folder that MEFT_CARRY names), with which no network is needed. The rivals of the
# benchmark need PyTorch, transformers and PEFT in python3 or in the interpreter that MEFT_PYTHON names.
#
#   sh scripts/gpu_check.sh             on a machine with a GPU
#   sh scripts/gpu_check.sh --no-gpu    the same with the kernels emulated and the benchmark in miniature
cd "$(dirname "$0")/.." || exit 1
export NO_COLOR=1
begun=$(date +%s)
limit=570

no_gpu=""
case "${1:-}" in
"") ;;
--no-gpu) no_gpu=1 ;;
*)
  echo "gpu_check: there is no option $1: --no-gpu" >&2
  exit 2
  ;;
esac
if [ -z "$no_gpu" ] && ! nvidia-smi -L >/dev/null 2>&1; then
  echo "gpu_check: there is no GPU here (nvidia-smi finds none); --no-gpu checks what can be checked without" >&2
  exit 2
fi

# Deno and headers, carried or installed.
carry=${MEFT_CARRY:-build/carry}
headers=""
if [ -f "$carry/cudnn_frontend.tar.gz" ]; then
  mkdir -p build/carried
  tar -C build/carried -xzf "$carry/cudnn_frontend.tar.gz"
  headers=$(pwd)/build/carried/include
fi
if [ -f "$carry/deno.gz" ]; then
  mkdir -p build/carried/deno_dir
  gunzip -c "$carry/deno.gz" >build/carried/deno && chmod +x build/carried/deno
  tar -C build/carried/deno_dir -xzf "$carry/npm.tar.gz"
  PATH=$(pwd)/build/carried:$PATH
  DENO_DIR=$(pwd)/build/carried/deno_dir
  export PATH DENO_DIR
fi
command -v deno >/dev/null 2>&1 || {
  echo "gpu_check: there is no deno: npm install -g deno@2.9.6, or bring what scripts/gpu_carry.sh collects" >&2
  exit 2
}

# cuBLASLt and cuDNN of a Python environment, where no toolkit has them on the loader's path.
python=${MEFT_PYTHON:-python3}
if [ -z "${MEFT_CUDA_LIBS:-}" ]; then
  MEFT_CUDA_LIBS=$("$python" -c '
import glob, sys
folders = [f for p in sys.path for f in sorted(glob.glob(p + "/nvidia/*/lib"))]
print(":".join(f for f in folders if glob.glob(f + "/libcublasLt.so*") or glob.glob(f + "/libcudnn.so*")))' 2>/dev/null)
  export MEFT_CUDA_LIBS
fi

mkdir -p build/gpu_check
failed=0

# step NAME COMMAND...: runs a command, and adds a line to the table.
step() {
  name=$1
  shift
  start=$(date +%s)
  log=build/gpu_check/$name.log
  if "$@" >"$log" 2>&1; then
    state=ok
  elif grep -q 'Device not supported' "$log"; then
    state=unable # a sanitizer that does not work on this machine says nothing of the code
  else
    state=FAILED
    failed=1
  fi
  printf '%-12s %-7s %4d s  %s\n' "$name" "$state" "$(($(date +%s) - start))" \
    "$(grep -E 'passed|ERROR SUMMARY|RACECHECK SUMMARY|Device not supported|attention on the device' "$log" | tail -1)"
}

grep -m1 'model name' /proc/cpuinfo
if [ -n "$no_gpu" ]; then
  # A build of its own: the folder of a machine with a GPU keeps its settings.
  step configure cmake -S csrc -B build/cpu -DMEFT_CUDA=OFF
  step build sh -c 'deno task build && cmake --build build/cpu --target meft_cuda_emulated --parallel'
else
  nvidia-smi --query-gpu=name,driver_version,memory.total,pcie.link.gen.max --format=csv,noheader
  # Compiles for the card that is there alone: minutes less.
  architecture=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d .)
  # Named, and asked for, because not every container shows the driver's files.
  MEFT_CUDA=1 MEFT_CUDA_LIBRARY=$(pwd)/build/cpu/libmeft_cuda.so
  export MEFT_CUDA MEFT_CUDA_LIBRARY
  step configure cmake -S csrc -B build/cpu "-DMEFT_CUDA_ARCHITECTURES=${architecture:-90}" \
    "-DMEFT_CUDNN_HEADERS=$headers"
  step build deno task build
fi
[ "$failed" = 0 ] || {
  tail -20 build/gpu_check/configure.log build/gpu_check/build.log >&2
  exit 1
}
step doctor deno task doctor
step contract deno test --allow-all --quiet --no-check tests/contract/device_test.ts tests/contract/placement_test.ts \
  tests/contract/edges_test.ts tests/native/device_memory_test.ts tests/native/host_link_test.ts
# Where cuDNN takes long sequences, our own kernels have not been asked for them yet.
step attention env MEFT_ATTENTION=own deno test --allow-all --quiet --no-check --filter /attention/ \
  tests/contract/device_test.ts
step training deno test --allow-all --quiet --no-check tests/native/train/cuda_test.ts \
  tests/native/train/device_lanes_test.ts tests/native/train/device_parameters_test.ts
if [ -z "$no_gpu" ]; then
  for tool in memcheck racecheck; do
    step "$tool" timeout 90 compute-sanitizer --tool "$tool" --target-processes all --error-exitcode 9 \
      deno test --allow-all --quiet --no-check --filter "/: (sparse|lora)$/" tests/native/train/cuda_test.ts
  done
fi
minutes=$(((limit - $(date +%s) + begun) / 60))
[ "$minutes" -ge 1 ] || minutes=1
if [ -n "$no_gpu" ]; then
  step bench deno task bench gpu --quick
else
  step bench deno task bench gpu --minutes "$minutes"
fi
# The table of the bars, which is the benchmark's last.
sed -n '/^bar /,$p' build/gpu_check/bench.log
exit $failed
