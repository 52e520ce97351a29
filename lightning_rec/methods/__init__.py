"""Training methods: how a step is made of a loss, and which optimizers take it."""
