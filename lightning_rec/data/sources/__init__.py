"""One file per data set: where its raw files are, and how to read them."""
