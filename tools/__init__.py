"""Tools of a release; no part of the product."""
