"""The NTK of any PyTorch model: structured where the layers allow it, general elsewhere."""
