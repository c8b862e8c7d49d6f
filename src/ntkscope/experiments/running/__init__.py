"""Where trials run. From the ground up: ``rows``, ``store``, ``units``, ``order``, ``watch``,
``dispatch``, ``engine``."""
