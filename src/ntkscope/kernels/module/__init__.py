"""The NTK of any PyTorch model: structured where the layers allow it, general elsewhere.

reading: the model as a subject, the survey of how it uses its parameters, the registry of layers.
holding: what a kernel of a module is made of, and how that is contracted.
making: from a model and its data to a kernel, checked. Each room imports those before it.
"""
