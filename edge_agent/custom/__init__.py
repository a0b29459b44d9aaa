"""Custom models: classifiers and regressions that the operator trains on labelled recordings or texts."""
