"""What is measured: pure functions, and classes that collect across processes."""
