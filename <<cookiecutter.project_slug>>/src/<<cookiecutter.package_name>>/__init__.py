"""The project's package: config, data, model and experiment are yours; reproducibility is the machinery."""
