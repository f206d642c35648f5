"""Data: corpora, preparation of clips, splits, augmentation and batches."""
