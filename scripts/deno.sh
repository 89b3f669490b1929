#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs Deno for a task with SIGXFSZ ignored: a write past the limit on file sizes (ulimit -f) is then an error like that of
# a full disk, also where Deno writes its caches before any program begins, and no end without a word.
trap '' XFSZ
export MEFT_IGNORES_SIGXFSZ=1 # lib/files/size_limit.ts
# The Deno that runs the task, which need not be on the path.
program=$(readlink "/proc/$PPID/exe")
case $program in
    */deno*) ;;
    *) program=deno ;;
esac
exec "$program" "$@"
