"""From raw files to audited batches."""
