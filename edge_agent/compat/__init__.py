"""Python classes with the names of the libraries that this one replaces."""
