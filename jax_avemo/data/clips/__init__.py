"""The TFDS data set of prepared clips."""
