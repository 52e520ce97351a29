"""Retrieval: the best items of a catalogue for queries, exactly, and ranks of single items."""
