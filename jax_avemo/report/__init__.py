"""A run or a cross-validation as one page for a reader."""
