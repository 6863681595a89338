"""Work done elsewhere: on processes of this machine, on a Dask cluster, on any executor of ``concurrent.futures``."""
