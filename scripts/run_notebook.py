# SPDX-License-Identifier: Apache-2.0
"""Executes a notebook without a browser: run_notebook.py NOTEBOOK OUTPUT KERNEL FOLDER.

Reads NOTEBOOK, runs its cells in a fresh KERNEL whose current directory is FOLDER, writes the result to OUTPUT.
Fails at the first cell that raises an error.
"""

import sys
from queue import Empty

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionComplete, CellExecutionError, DeadKernelError
from nbclient.util import ensure_async

# Deno's kernel says "idle" before the last output of some cells, and nbclient stops reading there.
GRACE_SECONDS = 0.1
CELL_TIMEOUT_SECONDS = 120


class PatientClient(NotebookClient):
    """A client that goes on reading outputs for a moment after the kernel says that it is idle."""

    async def _async_poll_output_msg(self, parent_msg_id, cell, cell_index):
        await super()._async_poll_output_msg(parent_msg_id, cell, cell_index)
        while True:
            try:
                message = await ensure_async(self.kc.iopub_channel.get_msg(timeout=GRACE_SECONDS))
            except Empty:
                return
            if message["parent_header"].get("msg_id") == parent_msg_id:
                try:
                    self.process_message(message, cell, cell_index)
                except CellExecutionComplete:
                    pass


def main():
    source, output, kernel, folder = sys.argv[1:]
    notebook = nbformat.read(source, as_version=4)
    client = PatientClient(
        notebook,
        kernel_name=kernel,
        timeout=CELL_TIMEOUT_SECONDS,
        resources={"metadata": {"path": folder}},
    )
    try:
        client.execute()
    except (CellExecutionError, DeadKernelError, TimeoutError) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        nbformat.write(notebook, output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
