"""Run the cells of a notebook in the kernel of this environment, as Jupyter does: play_notebook.py explore.ipynb"""

import json
import sys
from pathlib import Path

from jupyter_client.manager import start_new_kernel

manager, client = start_new_kernel(kernel_name="python3")
try:
    for cell in json.loads(Path(sys.argv[1]).read_text("utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            reply = client.execute_interactive("".join(cell["source"]), timeout=300)
            print(reply["content"]["status"], reply["content"].get("evalue", ""))
finally:
    client.stop_channels()
    manager.shutdown_kernel(now=True)
