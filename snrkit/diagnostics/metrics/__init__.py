"""The metrics, a file for each family of them that shares a computation; ``snrkit.runs.metrics`` lists them.

No file here imports torch when it is imported: reports ask them for titles and definitions.
"""
