"""The demo behind `make demo`: from nothing to a served model, by the same commands and APIs that a user has."""
