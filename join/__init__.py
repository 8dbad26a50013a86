"""`nox -s join -- PATH`: an existing repository with MLflow gets the machinery, on a branch of its own."""
