"""The command line: one thin file per command (parse, build a spec, call one function)."""
