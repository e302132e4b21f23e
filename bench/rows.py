"""A table whose rows appear as they are measured, so that an aborted run still shows its results."""


class Rows:
    """Prints its header at once, then row by row, in columns."""

    def __init__(self, *columns: str) -> None:
        self._widths = [max(10, len(column)) for column in columns]
        self.add(*columns)

    def add(self, *cells: str) -> None:
        """Print one row; missing cells at its end stay empty."""
        padded = (cell.ljust(width) for cell, width in zip(cells, self._widths, strict=False))
        print("  ".join(padded).rstrip(), flush=True)
