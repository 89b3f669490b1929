#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What the tasks of deno.json may load besides build/, as further entries of --allow-ffi: libraries that variables name, and
# the folder that build/ is a link to. Prints `,PATH` for each.
link=$([ -L build ] && cd build && pwd -P)
for path in "$MEFT_LIB" "$MEFT_CUDA_LIBRARY" "$NAPI_RS_NATIVE_LIBRARY_PATH" "$link"; do
  case $path in
    "") continue ;;
    # Deno parts the list at commas, and has no other way to write one: the folder around the first of them.
    *,*) path=$(dirname "${path%%,*}.") ;;
  esac
  printf ',%s' "$path"
done
