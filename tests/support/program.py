"""What one call of the program gave, and settings of a small run to call it with."""

from snrkit.cli.main import main

TOY = [
    "--data", "gaussian", "--model", "gaussian", "--M", 2, "--K", 4, "--batch-size", 5,
    "--set", "data.size=23", "--set", "data.dim=3", "--set", "eval_points=7", "--device", "cpu",
]  # fmt: skip


class Result:
    """What one call gave."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def refused(self, *words, code=2):
        """It was refused: exit 2 for bad input, one line on stderr with these words, nothing on stdout."""
        assert (self.code, self.out) == (code, "")
        assert self.err.count("\n") == 1, self.err
        for word in words:
            assert word in self.err
        return True


def caller(capsys):
    """The program, called in this process."""

    def call(*argv):
        code = 0
        capsys.readouterr()
        try:
            main([str(arg) for arg in argv])
        except SystemExit as exit_:
            code = exit_.code
        return Result(code, *capsys.readouterr())

    return call
