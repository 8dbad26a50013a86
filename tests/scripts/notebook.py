"""Run three cells in the kernel of this environment, as a notebook does, and print the last result."""

from jupyter_client.manager import start_new_kernel

CELLS = (
    "from penguin_classifier.config import ExperimentConfig\nfrom reproducibility import load, tracked_run",
    'config = load("configs/experiment.yaml", ExperimentConfig)',
    'with tracked_run(config, run_name="notebook") as run:\n    import mlflow\n    mlflow.log_metric("loss", 1.0)',
)

manager, client = start_new_kernel(kernel_name="python3")
try:
    for cell in CELLS:
        reply = client.execute_interactive(cell, timeout=300)
        print(reply["content"]["status"], reply["content"].get("evalue", ""))
finally:
    client.stop_channels()
    manager.shutdown_kernel(now=True)
