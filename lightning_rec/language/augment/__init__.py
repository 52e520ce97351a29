"""Augmentation: texts are changed for training, by words, whole batches at once."""
