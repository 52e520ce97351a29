"""Items as a config names them: by ids, texts or given vectors, or sums of them."""
