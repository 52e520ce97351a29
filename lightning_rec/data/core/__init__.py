"""What the data of every problem shares: sources, prepared folders, audits, batches, protocols."""
