"""What a trial measures. From the ground up: ``measure`` (the contract), ``columns``, ``instances``,
``quantities`` and ``batched``, one file a measure, and ``registry``, which finds them by name."""
