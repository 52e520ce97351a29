"""Indexes of vectors behind one interface: exact, or approximate with the recall that they have."""
