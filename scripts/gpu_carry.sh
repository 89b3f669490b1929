#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Collects what a machine without network needs for gpu_check.sh into one folder (default build/carry): Deno itself, the
# npm packages that tasks and tests import, and, where pip works, the headers of cuDNN's frontend, which few machines have
# (cuDNN itself comes with PyTorch). Take the folder along beside the clone, at the same place, or name it in
# MEFT_CARRY there. Both machines must be of one kind (x86-64 or arm64 Linux).
set -eu
cd "$(dirname "$0")/.."
folder=${1:-build/carry}
command -v deno >/dev/null 2>&1 || {
  echo "gpu_carry: there is no deno: npm install -g deno@2.9.6" >&2
  exit 1
}
rm -rf "$folder"
mkdir -p "$folder/deno_dir"
# What is installed from npm may be a script that starts the program.
program=$(deno eval --no-config 'console.log(Deno.execPath())')
gzip -c "$program" >"$folder/deno.gz"
DENO_DIR=$(cd "$folder/deno_dir" && pwd)
export DENO_DIR
deno cache --quiet mod.ts scripts/*.ts scripts/bench/*.ts scripts/bench/gpu/*.ts tests/contract/*.ts \
  tests/native/device_memory_test.ts tests/native/train/cuda_test.ts
# Packages alone: compiled code and databases are made anew where they are needed.
tar -C "$DENO_DIR" -czf "$folder/npm.tar.gz" npm
rm -rf "$DENO_DIR"
# A wheel is a zip file; its headers are in include/.
wheel=$folder/wheel
if python3 -m pip download --quiet --no-deps --dest "$wheel" nvidia-cudnn-frontend 2>/dev/null; then
  python3 -m zipfile -e "$wheel"/*.whl "$wheel"
  tar -C "$wheel" -czf "$folder/cudnn_frontend.tar.gz" include
else
  echo "gpu_carry: without pip, attention there will be by our own kernels, unless it has cuDNN's frontend" >&2
fi
rm -rf "$wheel"
du -ch "$folder"/*
