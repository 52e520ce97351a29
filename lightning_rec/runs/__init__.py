"""The run folder, its provenance, trackers, logs and processes."""
