"""What a training will take of memory and compute, known before a weight is loaded: the real steps on fake tensors."""
