"""How hypothesis runs here: the same examples every time, and no clock decides."""

from hypothesis import settings

settings.register_profile("wire", deadline=None, derandomize=True, database=None)
settings.load_profile("wire")
