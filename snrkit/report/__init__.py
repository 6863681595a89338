"""Figures and tables from what runs left behind. Reads through ``snrkit.results`` only and never loads torch."""
