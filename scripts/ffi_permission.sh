#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Prints the flag that lets a task of deno.json load libraries: those of build/, those that variables name, and those of the
# folder that build/ is a link to. With `host`, for tasks that never run on a CUDA device, it is always that list. The others
# get all of FFI where there is a device: memory that a device shares with the host is reached by its address, and Deno grants
# that only together with every library.
if [ "$1" != host ] && { [ -n "$MEFT_CUDA_LIBRARY" ] || [ -e /dev/nvidiactl ] || [ -e /dev/dxg ]; }; then
  printf '%s' --allow-ffi
  exit
fi
link=$([ -L build ] && cd build && pwd -P)
printf '%s' --allow-ffi=build
for path in "$MEFT_LIB" "$MEFT_CUDA_LIBRARY" "$NAPI_RS_NATIVE_LIBRARY_PATH" "$link"; do
  case $path in
    "") continue ;;
    # Deno parts the list at commas, and has no other way to write one: the folder around the first of them.
    *,*) path=$(dirname "${path%%,*}.") ;;
  esac
  printf ',%s' "$path"
done
