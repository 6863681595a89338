"""Repeated gradient draws, their moments, and what the moments say: SNR, bias and variance with error bars.

Data run one way: problem -> engines -> moments -> replicates -> readings -> the tidy table of ``measure``.
"""
