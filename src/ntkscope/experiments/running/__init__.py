"""Where trials run. From the ground up: ``rows``, ``store``, ``units``, ``order``, ``watch``,
``engine``, ``dispatch``, ``clusters`` (these two alone know dask), ``execution``."""
