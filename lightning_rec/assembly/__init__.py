"""Language models as a config names them."""
