"""The method: distributions, networks, objectives, training steps and metrics."""
