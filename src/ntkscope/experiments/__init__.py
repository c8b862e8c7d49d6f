"""Sweeps: many trials from one settings file, and what they say.

From the ground up; an import goes down this list and never up:

``design``     what a settings file asks for: expressions, settings, trials. Knows no torch.
``measures``   what a trial measures: quantities of a kernel, a loss, a statement, your own function.
``running``    where and in which order trials run, and the store that keeps their rows. The only
               importer of dask.
``reading``    what the rows say: tables, fits, exponents against claims, drawings.
``sweep``      :class:`Sweep`, which holds the four together: settings → rows → table.
``growing``    a statement of a paper as N, d and every width grow together.
``figures``    sweeps with a drawing and a claim.

What a stored sweep holds is read without torch: ``design``, the store and ``reading`` do without.
"""
