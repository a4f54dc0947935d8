"""The metrics of the paper, a family a file. Every evaluator takes networks and tensors and returns floats."""
