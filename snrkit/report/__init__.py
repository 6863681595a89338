"""Figures and tables from what runs left behind. Reads through ``snrkit.runs`` only and never loads torch."""
