"""Intaglio beside its fastest peers on one machine, in interleaved rounds."""
