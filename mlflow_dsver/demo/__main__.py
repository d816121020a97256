"""`python -m mlflow_dsver.demo FOLDER`, as `mlflow-dsver demo` calls it with the settings of the demo."""

import sys
from pathlib import Path

from mlflow_dsver.cli.main import guarded
from mlflow_dsver.demo.story import Place, tell

if __name__ == "__main__":
    sys.exit(guarded(lambda: tell(Place(Path(sys.argv[1])))))
