"""How a gateway of several workers ends when it cannot go on."""


class WorkersFailed(Exception):
    """A worker could not start, or died again and again. The text says which."""

    def __init__(self, why: str, code: int) -> None:
        super().__init__(why)
        self.code = code  # What the process exits with.
