"""The project's package: its config, data, model and experiment."""
