"""A PyTorch Lightning toolkit for recommenders whose numbers can be trusted."""

__version__ = "0.1.0"
