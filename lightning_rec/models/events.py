"""Vectors of items by who had them: what is known of items where nothing describes them."""

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import svds
from torch import Tensor

from lightning_rec.data.split import Split
from lightning_rec.models.classic.parts import training_matrix

DENSE = 256  # items or users, below which all singular vectors are had at once


def event_vectors(split: Split, dim: int, seed: int = 1) -> Tensor:
    """Vectors float32 [V, dim] by the training events; 0 for items without any.

    Right singular vectors, times the values, of the users' matrix D_u^-1/2 X D_i^-1/2 (as in Shen
    et al., How Powerful is Graph Convolution for Recommendation?, CIKM 2021, section 4); beyond its
    rank they are 0. The same seed gives the same vectors.
    """
    matrix = training_matrix(split).astype(np.float64)
    scale = [1 / np.sqrt(np.maximum(matrix.sum(axis=axis), 1)) for axis in (1, 0)]
    even = sparse.diags_array(scale[0]) @ matrix @ sparse.diags_array(scale[1])
    least = min(even.shape)
    if least <= max(DENSE, dim):
        _, values, right = np.linalg.svd(even.toarray(), full_matrices=False)
    else:
        start = np.random.default_rng(seed).standard_normal(least)
        _, values, right = svds(even.tocsr(), k=dim, v0=start)
        values, right = values[::-1], right[::-1]
    made = np.zeros((split.num_items, dim), dtype=np.float32)
    found = (right * values[:, None])[:dim].T
    made[:, : found.shape[1]] = found
    made[np.asarray(split.train_counts) == 0] = 0
    return torch.from_numpy(made)
