"""Load models with MLflow alone, which knows no policy. The argument is {name: uri}; prints {name: its class}."""

import json
import sys

import mlflow

models = {name: mlflow.sklearn.load_model(uri) for name, uri in json.loads(sys.argv[1]).items()}
print(json.dumps({name: type(model).__name__ for name, model in models.items()}))
