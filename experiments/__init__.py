"""What the scripts share: options, data, models, the DisenIB loop, evaluations and their tables."""
