"""Print the help of `repro`, and last which of the heavy libraries that has loaded."""

import sys

from reproducibility.cli import main

try:
    main(["--help"])
finally:
    loaded = {name.partition(".")[0] for name in sys.modules}
    print(sorted(loaded & {"blake3", "mlflow", "pydantic", "rich", "yaml"}))
